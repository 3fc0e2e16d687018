"""Sequences to learn from, and padded micro-batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingRow:
    """One sequence to learn from: a rollout or a demonstration."""

    prompt_id: str
    prompt: Sequence[int]
    response: Sequence[int]
    logp_old: Sequence[float]
    """Under the policy before the step: of a rollout what the sampler said, or as `recall` has it."""
    reward: float
    group: int
    kind: str | None
    """The expert's kind; None for a rollout."""
    source: str = ""
    """The expert's."""
    value: Sequence[float] = ()
    """V before each token of a rollout, where the method asks for it."""
    logp_sampled: Sequence[float] = ()
    """What the sampler said of a rollout."""

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Padded:
    """B rows side by side, each from column 0: its prompt, its response, then padding.

    What is causal never looks to the right, so padding there needs neither a mask nor positions of its own.
    """

    input_ids: Tensor
    """[B, L] int64."""
    start: Tensor
    """[B] int64, the column where the response starts."""
    mask: Tensor
    """[B, T] bool, True on response tokens; a row's first is at column 0."""
    logp_old: Tensor
    """[B, T] float32."""
    recorded: Tensor
    """[B] bool, logp_old is known."""
    logp_sampled: Tensor
    """[B, T] float32, 0 for demonstrations."""

    @property
    def tokens(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the N response tokens, row by row: row, number in it, and column of input_ids; [N] each."""
        row, number = self.mask.nonzero(as_tuple=True)
        return row, number, self.start[row] + number


def micro_batches(rows: Sequence[TrainingRow], active: Tensor, budget: int) -> Iterator[list[int]]:
    """Indices of the active rows, longest first, at most `budget` tokens together with their padding.

    A row over the budget comes alone: it is the caller's memory to judge, not ours to drop data.
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
    """The rows as tensors; `token` fills the gaps."""
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
    rows: Sequence[TrainingRow], budget: int, device: torch.device, logp: Callable[[Padded], Tensor]
) -> list[float]:
    """log pi of each row's whole response, in nats; `budget` as in `micro_batches`.

    `logp` maps a micro-batch to log pi of its tokens, [B, T], 0 past the end of a row.
    """
    found = [0.0] * len(rows)
    for chosen in micro_batches(rows, torch.ones(len(rows)), budget):
        batch = pad([rows[i] for i in chosen], 0, device)
        for i, total in zip(chosen, logp(batch).double().sum(1).tolist(), strict=True):
            found[i] = total
    return found
