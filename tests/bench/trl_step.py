"""The training step of TRL's GRPOTrainer on fixed rollouts: loop, loss, clipping and optimizer are TRL's.

The settings favour TRL: no reference model (beta 0), one pass over each batch, no gradient checkpointing,
bf16 autocast, and a timing that begins after the data loader and ends before the logs. `rollout_func` returns
the fixed tokens, which takes under 1% of a step.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from hpt_core.policy.batching import TrainingRow
from tests.bench.hpt_step import BETAS, LEARNING_RATE
from tests.bench.inputs import Shape


def grpo_trainer(
    model: PreTrainedModel, rows: Sequence[TrainingRow], shape: Shape, micro_rows: int, steps: int
) -> GRPOTrainer:
    """A GRPOTrainer that takes `steps` steps, each on all `rows`, `micro_rows` at a time."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # hides the warning that rollout_func is experimental
    disable_progress_bar()
    groups = {row.prompt_id: [other for other in rows if other.group == row.group] for row in rows}

    def fixed_rollouts(prompts: list[str], _: GRPOTrainer) -> dict[str, Any]:
        # Each prompt is repeated once for each rollout of its group.
        chosen = [row for prompt in prompts[:: shape.size] for row in groups[prompt]]
        return {
            "prompt_ids": [list(row.prompt) for row in chosen],
            "completion_ids": [list(row.response) for row in chosen],
            "logprobs": [list(row.logp_old) for row in chosen],
            "verdict": [row.reward for row in chosen],
        }

    config = GRPOConfig(
        output_dir=tempfile.gettempdir(),
        use_cpu=model.device.type == "cpu",
        bf16=True,
        num_generations=shape.size,
        per_device_train_batch_size=micro_rows,
        gradient_accumulation_steps=len(rows) // micro_rows,
        max_completion_length=shape.response[1],
        max_steps=steps,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        max_grad_norm=1.0,
        loss_type="grpo",
        beta=0.0,
        num_iterations=1,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, verdict, **_: verdict,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": list(groups)}),
            processing_class=_tokenizer(model.config.vocab_size),
            rollout_func=fixed_rollouts,
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


class StepTimer(TrainerCallback):
    """Times each step of TRL, and calls `after` when the clock has stopped."""

    def __init__(self, after: Callable[[], None] = lambda: None) -> None:
        self.after = after
        self.timings: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.timings.append(time.perf_counter() - self.start)
        self.after()


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer with a word for each token, since TRL decodes and the model folder may have none."""
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t2", pad_token="t2", unk_token="t0")
