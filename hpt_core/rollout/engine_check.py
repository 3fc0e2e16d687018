"""The engine against the policy: log-probabilities and greedy tokens on a few prompts of the run, beside
those of a plain forward pass of the trainer's own model in float32.

Whatever the engine samples is trained on as if the policy had sampled it. The two may round differently. They
must not differ in weights, positions, cache or attention, and nothing else in a run would end it if they did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hpt_core.config import RolloutConfig, Sampling
from hpt_core.protocols import RolloutEngine

PROMPTS, LONGEST_PROMPT, NEW_TOKENS = 4, 512, 16
"""Number of prompts, their length at most (unless all are longer), and the longest response, in tokens."""

PlainForward = Callable[[Tensor], Tensor]
"""Token ids [1, L] -> logits [1, L, V], without padding, cache, autocast or dropout."""


class Limits(NamedTuple):
    """Differences of log-probabilities, in nats, above which the engine samples another policy."""

    mean: float
    largest: float


LIMITS = {
    ("hf", "float32"): Limits(2e-4, 2e-3),
    ("vllm", "float32"): Limits(2e-3, 2e-2),
    ("hf", "bfloat16"): Limits(0.15, 2.0),
    ("vllm", "bfloat16"): Limits(0.15, 2.0),
}
"""By engine and `rollout.dtype`. SmolLM2-135M on a CPU has a mean and a largest difference of 2e-6 and 1e-5
with hf, 5e-6 and 4e-5 with vllm; in bfloat16 0.03 and 0.15 with hf, 0.04 and 0.4 with vllm. Without one of
its 30 MLPs it would be 0.4 and 4 nats off, and with rotary positions scaled by 4, 2 and 11."""


@dataclass(frozen=True)
class Comparison:
    """Engine and plain forward pass on the same responses; a row for each."""

    tokens: Sequence[Sequence[int]]
    engine: Sequence[Sequence[float]]
    """log pi of each token, as the engine reported it."""
    plain: Sequence[Sequence[float]]
    """log pi of each token by the plain forward pass."""
    greedy_gap: float
    """By how many nats the plain forward pass finds another token more likely than one that the engine took
    as the most likely; the largest such gap."""

    @property
    def differences(self) -> list[float]:
        return [
            abs(one - two)
            for row, plain in zip(self.engine, self.plain, strict=True)
            for one, two in zip(row, plain, strict=True)
        ]

    def fault(self, limits: Limits) -> str | None:
        """What exceeds the limits; None if nothing does. NaN exceeds them."""
        mean, largest = fmean(self.differences), max(self.differences)
        if not (mean <= limits.mean and largest <= limits.largest):
            return (
                f"its log-probabilities of {len(self.differences)} tokens differ from a plain forward pass "
                f"by {mean:.2g} nats on average and {largest:.2g} at most (limits {limits.mean:g} and "
                f"{limits.largest:g})"
            )
        if not self.greedy_gap <= limits.largest:
            return (
                f"one of its greedy tokens is {self.greedy_gap:.2g} nats less likely than another in a plain "
                f"forward pass (limit {limits.largest:g})"
            )
        return None

    def unmoved(self, before: Comparison) -> str | None:
        """Whether the engine's log-probabilities did not follow the policy's since `before`; by how much.

        It sees an update that is too small for `fault`: rounding is mostly the same before and after it, and
        `before` measured it.
        """
        moved, missed = [], []
        for i, row in enumerate(self.tokens):
            for j, pair in enumerate(zip(row, before.tokens[i], strict=False)):
                if pair[0] != pair[1]:
                    break
                policy = self.plain[i][j] - before.plain[i][j]
                moved.append(abs(policy))
                missed.append(abs(self.engine[i][j] - before.engine[i][j] - policy))
        if not moved or fmean(moved) <= 4 * fmean(before.differences) or fmean(missed) <= fmean(moved) / 2:
            return None
        return (
            f"the update moved the policy's log-probabilities by {fmean(moved):.2g} nats on average, and the "
            f"engine's missed that by {fmean(missed):.2g}"
        )


@torch.no_grad()
def compare(
    engine: RolloutEngine,
    plain: PlainForward,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    device: torch.device,
) -> Comparison:
    """Sample each prompt once greedily and once by `sampling`, and compute the same responses plainly.

    The seeds belong to this call: nothing random is drawn that a run would draw.
    """
    tokens, sampled, computed = [], [], []
    gap = 0.0
    for way in (sampling.model_copy(update={"temperature": 0.0}), sampling):
        completions = engine.generate(prompts, range(len(prompts)), way)
        for prompt, completion in zip(prompts, completions, strict=True):
            ids = torch.tensor([[*prompt, *completion.token_ids]], device=device)
            logits = plain(ids)[0, len(prompt) - 1 : -1]
            logp = (logits / (way.temperature or 1.0)).log_softmax(-1)
            chosen = logp.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
            tokens.append(completion.token_ids)
            sampled.append(completion.logprobs)
            computed.append(chosen.tolist())
            if way.temperature == 0:
                gap = max(gap, float((logp.amax(-1) - chosen).max()))
    return Comparison(tokens, sampled, computed, gap)


def few(prompts: Collection[Sequence[int]]) -> list[Sequence[int]]:
    """Up to `PROMPTS` of the prompts, from the shortest to the longest that is allowed."""
    ordered = sorted(set(map(tuple, prompts)), key=lambda prompt: (len(prompt), prompt))
    allowed = [prompt for prompt in ordered if len(prompt) <= LONGEST_PROMPT] or ordered[:1]
    count = min(PROMPTS, len(allowed))
    return [allowed[i * (len(allowed) - 1) // max(count - 1, 1)] for i in range(count)]


class EngineCheck:
    """The check of one engine, for its first weights and for those that replace them."""

    def __init__(
        self,
        engine: RolloutEngine,
        module: nn.Module,
        model: PreTrainedModel,
        prompts: Collection[Sequence[int]],
        rollout: RolloutConfig,
        temperature: float | None = None,
    ) -> None:
        """`module` is `model`, or what shards it. `temperature` is that of the rollouts unless it is given; 0
        is checked at 1, beside the greedy tokens."""
        self.engine, self.module, self.model = engine, module, model
        self.prompts, self.rollout = few(prompts), rollout
        self.sampling = Sampling(
            temperature=(rollout.temperature if temperature is None else temperature) or 1.0,
            max_new_tokens=min(NEW_TOKENS, rollout.max_new_tokens),
        )
        self.before: Comparison | None = None
        self.made = 0
        """How many times the engine was checked."""

    def measure(self) -> Comparison:
        """Engine and model on the prompts. For a sharded model all ranks take part."""
        with _plainly(self.module, self.model) as plain:
            return compare(self.engine, plain, self.prompts, self.sampling, self.model.device)

    def fault(self) -> str | None:
        """One line with the remedy if the engine samples another policy; None if it samples this one."""
        name, dtype = self.rollout.engine, self.rollout.dtype
        before, self.before = self.before, self.measure()
        self.made += 1
        fault = self.before.fault(LIMITS[name, dtype])
        cause = "it ignores its cache, or a softcap, a sink or a scaling of positions that the model has"
        if before is not None:
            fault = fault or self.before.unmoved(before)
            cause = "it did not take over all updated weights, such as adapters, experts or a tied head"
        if fault is None:
            return None
        remedies = [] if dtype == "float32" else ["rollout.dtype: float32"]
        remedies += ["rollout.vllm.lora: false"] if self.rollout.vllm.lora else []
        remedies.append("rollout.engine: " + ("hf" if name == "vllm" else "vllm"))
        return (
            f"rollout.engine {name} in {dtype} samples another policy than the model's: {fault}; most likely "
            f"{cause}; set {' or '.join(remedies)}, and see `hpt doctor`"
        )


@contextmanager
def _plainly(module: nn.Module, model: PreTrainedModel) -> Iterator[PlainForward]:
    """The forward pass of `model`, called through `module`, whose hooks gather sharded weights."""

    def forward(input_ids: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=input_ids, use_cache=False).logits
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    training = module.training
    module.eval()
    if module is not model:
        module.forward = forward
    try:
        yield forward if module is model else module
    finally:
        if module is not model:
            del module.forward
        module.train(training)
