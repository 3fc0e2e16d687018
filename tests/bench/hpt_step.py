"""The training step of this project on fixed rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from hpt_core.config import OptimizerConfig, TrainConfig
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.step import Totals, update

LEARNING_RATE, BETAS = 1e-6, (0.9, 0.95)


def stepper(model: PreTrainedModel, rows: Sequence[TrainingRow], micro_tokens: int) -> Callable[[], Totals]:
    """A function that takes one GRPO step on all `rows`, `micro_tokens` padded tokens at a time."""
    config = TrainConfig(
        algorithm="grpo",
        steps=1,
        prompts_per_step=1,
        optimizer=OptimizerConfig(lr=LEARNING_RATE, betas=list(BETAS)),
        autocast="bfloat16",
        microbatch_tokens=micro_tokens,
    )
    policy_module, optimizers = PolicyModule(model), build_optimizers(model, config.optimizer)
    return lambda: update(Learner(policy_module, optimizers, config, {}, temperature=1.0), rows)
