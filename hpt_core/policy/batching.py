"""Training rows, how they are cut into micro-batches under a token budget, and the padded tensors of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int64


@dataclass(frozen=True)
class TrainingRow:
    """One sequence to learn from: a rollout or a demonstration."""

    prompt_id: str
    prompt: Sequence[int]
    response: Sequence[int]
    logp_old: Sequence[float]
    """log pi of each response token under the policy before the step: the sampler's own numbers, or those
    that `trainer.old_logprobs` computed. Empty if the row is used in the step's first update, where the
    policy is still the old one."""
    reward: float
    group: int
    kind: str | None
    """The kind of the demonstration's expert; None for a rollout."""
    source: str = ""
    """The source of the demonstration."""
    value: Sequence[float] = ()
    """V before each token of a rollout, if the algorithm needs it."""
    logp_sampled: Sequence[float] = ()
    """log pi of each response token of a rollout, as the sampler reported it."""
    sample: int = 0
    """The number of a rollout among those of its prompt."""
    trajectory_id: str = ""
    """The demonstration's trajectory; empty for a rollout."""

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Padded:
    """B rows of L columns, each left-aligned: the prompt, the response (at most T tokens), then padding.

    A causal model never attends to the right, so right padding needs no attention mask and no position ids.
    """

    input_ids: Int64[Tensor, "B L"]
    start: Int64[Tensor, "B"]
    """The column of input_ids where the response starts."""
    mask: Bool[Tensor, "B T"]
    """True on response tokens; the first token of a response is at column 0."""
    logp_old: Float32[Tensor, "B T"]
    """log pi under the policy before the step; 0 where `recorded` is False and on padding."""
    recorded: Bool[Tensor, "B"]
    """True if the row's logp_old is known."""
    logp_sampled: Float32[Tensor, "B T"]
    """log pi as the sampler reported it; 0 for demonstrations and on padding."""

    @property
    def tokens(self) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "N"], Int64[Tensor, "N"]]:
        """Row, position in the response, and column of input_ids of each of the N response tokens."""
        row, position = self.mask.nonzero(as_tuple=True)
        return row, position, self.start[row] + position


def micro_batches(rows: Sequence[TrainingRow], active: Tensor, budget: int) -> Iterator[list[int]]:
    """Yield indices of the active rows, longest first, at most `budget` tokens at a time with their padding.

    A row that is longer than the budget gets a micro-batch of its own, so that no data is dropped.
    """
    order = sorted(active.nonzero().squeeze(1).tolist(), key=lambda i: (-rows[i].length, i))
    batch: list[int] = []
    for i in order:
        if batch and rows[batch[0]].length * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def pad(rows: Sequence[TrainingRow], token: int, device: torch.device) -> Padded:
    """The rows as tensors; `token` is the padding token."""
    longest = max(len(row.response) for row in rows)
    input_ids = torch.full((len(rows), max(row.length for row in rows)), token)
    logp_old, logp_sampled = (torch.zeros((len(rows), longest)) for _ in range(2))
    for i, row in enumerate(rows):
        input_ids[i, : row.length] = torch.tensor([*row.prompt, *row.response])
        logp_old[i, : len(row.logp_old)] = torch.tensor(row.logp_old)
        logp_sampled[i, : len(row.logp_sampled)] = torch.tensor(row.logp_sampled)
    start = torch.tensor([len(row.prompt) for row in rows])
    mask = torch.arange(longest) < torch.tensor([len(row.response) for row in rows])[:, None]
    recorded = torch.tensor([len(row.logp_old) > 0 for row in rows])
    return Padded(*(part.to(device) for part in (input_ids, start, mask, logp_old, recorded, logp_sampled)))


@torch.no_grad()
def row_logp(
    rows: Sequence[TrainingRow],
    budget: int,
    device: torch.device,
    logp: Callable[[Padded], Float[Tensor, "B T"]],
) -> list[float]:
    """log pi of each row's whole response, in nats; `budget` as in `micro_batches`.

    `logp` maps a micro-batch to log pi of its tokens, 0 past the end of a row.
    """
    sums = [0.0] * len(rows)
    for indices in micro_batches(rows, torch.ones(len(rows)), budget):
        batch = pad([rows[i] for i in indices], 0, device)
        for i, row_sum in zip(indices, logp(batch).double().sum(1).tolist(), strict=True):
            sums[i] = row_sum
    return sums
