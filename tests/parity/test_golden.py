"""Golden traces: ten optimizer steps of a tiny Llama, in float64 and on given rollouts.

`python tests/parity/test_golden.py` rewrites golden/*.json. Do so only together with a change that means
to move the numbers (a published form corrected, another optimizer), and say in its commit which and why;
a change that is to make things faster or clearer has to leave them as they are. What is written is
checked all the same: the second test takes the same steps with the surrogates of published/.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from published import PUBLISHED
from published.rows import LENGTH
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hpt_core.config import OptimizerConfig, TrainConfig
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.step import update
from hpt_core.types import Tokens

GOLDEN = Path(__file__).parent / "golden"
TRACED = ["sft", "grpo", "luffy", "hpt"]
STEPS, TEMPERATURE, CLIP_NORM = 10, 0.9, 0.5
OPTIMIZER = OptimizerConfig(lr=0.02, weight_decay=0.1)
SIZES = LlamaConfig(
    vocab_size=23,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=32,
)

Trace: TypeAlias = dict[str, list[float]]
Step: TypeAlias = Callable[[LlamaForCausalLM, list[torch.optim.Optimizer], list[TrainingRow], str], float]


def policy() -> LlamaForCausalLM:
    """Weights uniform in [-0.4, 0.4], and float64 all through."""
    model = LlamaForCausalLM(SIZES).double()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            uniform = torch.rand(weight.shape, generator=draw, dtype=torch.float64)
            weight.copy_(0.8 * (uniform - 0.5) + (weight.ndim == 1))
    # transformers computes norms and angles in float32, whatever the weights are.
    for module in model.modules():
        if isinstance(module, LlamaRMSNorm):
            shape, eps = module.weight.shape, module.variance_epsilon
            module.forward = partial(
                torch.nn.functional.rms_norm, normalized_shape=shape, weight=module.weight, eps=eps
            )
    model.model.rotary_emb.forward = angles
    return model


def angles(states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of RoPE, [1, T, head size]."""
    size = SIZES.hidden_size // SIZES.num_attention_heads
    frequency = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = (position_ids[..., None] * frequency).repeat(1, 1, 2)
    return angle.cos(), angle.sin()


def logp(model: LlamaForCausalLM, rows: list[TrainingRow]) -> list[Tensor]:
    """[T] of each row's response."""
    ids = [torch.tensor([*row.prompt, *row.response]) for row in rows]
    # What is causal never looks at the padding to its right.
    logits = model(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)).logits / TEMPERATURE
    return [
        table[: len(own) - 1].log_softmax(-1).gather(1, own[1:, None])[len(row.prompt) - 1 :, 0]
        for table, own, row in zip(logits, ids, rows, strict=True)
    ]


REWARDS = [(0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0)]


def mini_batches(model: LlamaForCausalLM) -> list[list[TrainingRow]]:
    """Two, of five prompts each: mixed, failed with and without a demonstration, and solved ones.

    The sampler was near the policy that the steps start from, and not that policy.
    """
    draw = torch.Generator().manual_seed(2)

    def some(longest: int) -> list[int]:
        length = int(torch.randint(1, longest + 1, (), generator=draw))
        return torch.randint(SIZES.vocab_size, (length,), generator=draw).tolist()

    def sampled(prompt: list[int], reward: float, group: int) -> TrainingRow:
        row = TrainingRow("", prompt, some(9), (), reward, group, None)
        noise = torch.rand(len(row.response), generator=draw, dtype=torch.float64) - 0.5
        with torch.no_grad():
            old = (logp(model, [row])[0] + noise).clamp(max=-0.01)
        # The trainer keeps them in float32.
        return TrainingRow("", prompt, row.response, old.float().tolist(), reward, group, None)

    batches = []
    for experts in ((0, 1), (0, 1, 2, 4)):
        rows = []
        for group, rewards in enumerate(REWARDS):
            prompt = some(6)
            rows += [sampled(prompt, reward, group) for reward in rewards]
            if group in experts:
                rows.append(TrainingRow("", prompt, some(9), (), 1.0, group, "human"))
        batches.append(rows)
    return batches


def trace(step: Step, name: str) -> Trace:
    """What ten steps of an algorithm do, the mini-batches by turns."""
    model = policy()
    batches, optimizers = mini_batches(model), build_optimizers(model, OPTIMIZER)
    of_steps: Trace = {"grad_norm": [], "logp_rollouts": [], "logp_demonstrations": []}
    for number in range(STEPS):
        of_steps["grad_norm"].append(step(model, optimizers, batches[number % 2], name))
        rows = [row for batch in batches for row in batch]
        with torch.no_grad():
            of_rows = list(zip(rows, logp(model, rows), strict=True))
        rollouts = [tokens for row, tokens in of_rows if row.kind is None]
        demonstrations = [tokens for row, tokens in of_rows if row.kind is not None]
        of_steps["logp_rollouts"].append(torch.cat(rollouts).mean().item())
        of_steps["logp_demonstrations"].append(torch.cat(demonstrations).mean().item())
    return {key: [float(f"{value:.12g}") for value in values] for key, values in of_steps.items()}


def trained(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    rows: list[TrainingRow],
    name: str,
    budget: int = 60,
) -> float:
    """A step of the trainer, in micro-batches; returns the norm of its gradient."""
    config = TrainConfig(
        algorithm=name,
        steps=STEPS,
        prompts_per_step=len(REWARDS),
        optimizer=OPTIMIZER,
        clip_norm=CLIP_NORM,
        microbatch_tokens=budget,
    )
    learner = Learner(PolicyModule(model), optimizers, config, {"length": LENGTH}, TEMPERATURE)
    return update(learner, rows)["grad_norm"]


def published(
    model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], rows: list[TrainingRow], name: str
) -> float:
    """The same step by the published surrogate, in one piece."""
    longest = max(len(row.response) for row in rows)

    def padded(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values.double(), (0, longest - len(values)))

    batch = Tokens(
        logp=torch.stack([padded(tokens) for tokens in logp(model, rows)]),
        logp_old=torch.stack([padded(torch.tensor(row.logp_old)) for row in rows]),
        mask=torch.arange(longest) < torch.tensor([len(row.response) for row in rows])[:, None],
        reward=torch.tensor([row.reward for row in rows], dtype=torch.float64),
        group=torch.tensor([row.group for row in rows]),
        expert=torch.tensor([row.kind is not None for row in rows]),
    )
    PUBLISHED[name](batch).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM).item()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return norm


def stored(name: str) -> Trace:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def agree(found: Trace, expected: Trace) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-9, abs=0), key


@pytest.mark.parametrize("name", TRACED)
def test_ten_steps_are_those_stored(name):
    agree(trace(trained, name), stored(name))


@pytest.mark.parametrize("name", TRACED)
def test_ten_steps_by_the_published_surrogate_are_those_stored(name):
    agree(trace(published, name), stored(name))


@pytest.mark.parametrize("name", TRACED)
def test_ten_steps_are_the_same_without_a_cut(name):
    agree(trace(partial(trained, budget=10_000), name), stored(name))


def test_the_stored_steps_went_somewhere():
    """A trace of nothing would be matched by a trainer that does nothing."""
    for name in TRACED:
        steps = stored(name)
        assert all(len(values) == STEPS for values in steps.values())
        assert min(steps["grad_norm"]) > 0.01
        assert max(steps["grad_norm"]) > CLIP_NORM, "no gradient is ever clipped"
        written = steps["logp_rollouts"]
        assert max(written) - min(written) > 0.1
    for name in ("sft", "hpt"):
        imitated = stored(name)["logp_demonstrations"]
        assert imitated[-1] > imitated[0] + 0.3


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for traced in TRACED:
        (GOLDEN / f"{traced}.json").write_text(json.dumps(trace(trained, traced), indent=2) + "\n")
