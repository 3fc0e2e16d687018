"""Time, arithmetic and model FLOPs utilisation (MFU) of a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from hpt_core.policy.sizes import head_width
from hpt_core.rollout.group import Group
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.metrics import Totals
from hpt_core.trainer.phases.spending import Spent

SIDE = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices for the machine's rate, large enough to keep every core busy. A GPU's kernel
must also run for much longer than its launch takes."""


def flops(model: PreTrainedModel, lengths: Iterable[int]) -> float:
    """Floating-point operations of a forward and a backward pass over rows of these lengths.

    6 per matrix weight and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and causal attention
    of 6 x layers x hidden x length^2. Recomputation does not count, since MFU measures useful work; adapters
    count as all weights do.
    """
    weights, layers, hidden = _shape(model)
    return sum(6.0 * weights * length + 6.0 * layers * hidden * length**2 for length in lengths)


def forward_flops(model: PreTrainedModel, lengths: Iterable[int]) -> float:
    """Floating-point operations of a forward pass: a third of those of both passes (Kaplan et al. 2020).

    Sampling a row costs as much, since the cache of keys and values leaves each token one pass; the prompt
    counts for each of its rollouts.
    """
    return flops(model, lengths) / 3


def spent_on(model: PreTrainedModel, sampled: Sequence[Group], totals: Totals) -> Spent:
    """What a step spent: on its rollouts, those without a verdict too, and on its updates.

    The passes of a KL's reference and those for the old policy's log-probabilities count. What is measured
    for the record alone does not: the dev prompts, NLLs, the mismatch with the sampler.
    """
    rollouts = [(group.task, len(r.completion.token_ids)) for group in sampled for r in group.rollouts]
    sampling = forward_flops(model, [len(task.tokens) + length for task, length in rollouts])
    updates = totals["flops"] + totals["flops_reference"] + totals["flops_old"]
    generated = float(sum(length for _, length in rollouts))
    return Spent(1.0, generated, totals["tokens_trained"], sampling + updates)


def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product, the best of five."""
    side = SIDE[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b).sum().item()  # item waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best


def _shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """(weights in matrices that every token is multiplied with, layers, hidden size)."""
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    # The embedding is a lookup without products, unless the LM head shares its weights.
    looked_up = 0 if head.weight is embedding.weight else int(embedding.weight.numel())  # type: ignore[operator]
    layers: int = model.config.get_text_config().num_hidden_layers
    return weights - looked_up, layers, head_width(model)


class Clock:
    """Seconds by phase, of the current step and of the whole run."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.total: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - start)

    def add(self, other: Clock) -> None:
        """Count what `other` measured in another thread, beside this one's own phases."""
        for name, spent in other.total.items():
            self._add(name, spent)

    def _add(self, name: str, spent: float) -> None:
        # A step with dynamic sampling generates in several rounds.
        self.last[name] = self.last.get(name, 0.0) + spent
        self.total[name] += spent


@dataclass(frozen=True)
class Speed:
    """Seconds, tokens per second and MFU of a step.

    They depend on the machine, so no versioned file contains them.
    """

    rate: float
    """Floating-point operations per second of all ranks together, measured on a large matrix product."""

    @classmethod
    def of(cls, run: TrainContext) -> Speed:
        dtype = getattr(torch, run.config.autocast)
        return cls(gemm_rate(run.policy.model.device, dtype) * run.ranks.count)

    def metrics(self, seconds: Mapping[str, float], generated: int, totals: Totals) -> dict[str, float]:
        """`padding` is the padding's share of the tokens of forward passes with a gradient."""
        passed = totals.mean("tokens_passed", "tokens_with_padding")
        return {
            **{f"seconds/{phase}": spent for phase, spent in seconds.items()},
            **({"tokens_per_s/generate": generated / seconds["generate"]} if generated else {}),
            "tokens_per_s/update": totals["tokens"] / seconds["update"],
            "mfu": totals["flops"] / seconds["update"] / self.rate,
            **({"padding": 1 - passed} if passed is not None else {}),
        }
