"""Training rows, how they are cut into micro-batches under a token budget, and the tensors of one."""

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
    """B rows in S sequences of L columns: one row in each, left-aligned, or several behind each other.

    A row is its prompt and its response, of at most T tokens; padding follows the last row of a sequence. A
    causal model never attends to the right, so right padding needs no attention mask and no position ids.
    """

    input_ids: Int64[Tensor, "S L"]
    sequence: Int64[Tensor, "B"]
    """The sequence that holds the row."""
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
    positions: Int64[Tensor, "S L"] | None = None
    """Position ids of packed rows: each row and the padding behind the last one begin at 0, from which
    transformers makes a mask that is causal within a row and keeps rows apart. None without packing."""

    @property
    def tokens(self) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "N"], Int64[Tensor, "N"]]:
        """Row, position in the response, and column of its sequence of each of the N response tokens."""
        row, position = self.mask.nonzero(as_tuple=True)
        return row, position, self.start[row] + position


def micro_batches(
    rows: Sequence[TrainingRow], active: Tensor, budget: int, capacity: int | None = None
) -> Iterator[list[int]]:
    """Yield indices of the active rows, longest first, at most `budget` tokens at a time with their padding.

    A row that is longer than the budget gets a micro-batch of its own, so that no data is dropped.

    capacity: tokens of a sequence that several rows may share, at least those of the longest; None: each row
    has a sequence of its own.
    """
    order = sorted(active.nonzero().squeeze(1).tolist(), key=lambda i: (-rows[i].length, i))
    if capacity is not None:
        yield from _packed(rows, order, budget, capacity)
        return
    batch: list[int] = []
    for i in order:
        if batch and rows[batch[0]].length * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _packed(
    rows: Sequence[TrainingRow], order: Sequence[int], budget: int, capacity: int
) -> Iterator[list[int]]:
    """Micro-batches of the rows in `order`, longest first, that `pad` packs into the same sequences."""
    sequences = first_fit([rows[i].length for i in order], capacity)
    most = max(1, budget // capacity)
    for first in range(0, len(sequences), most):
        yield [order[place] for sequence in sequences[first : first + most] for place in sequence]


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Places of the lengths in sequences of `capacity` tokens: each goes to the first one with room for it.

    Longest first, few tokens stay empty (first-fit decreasing). Whole sequences of the result, alone, give
    themselves again.
    """
    sequences: list[list[int]] = []
    room: list[int] = []
    for place, length in enumerate(lengths):
        fits = next((number for number, left in enumerate(room) if left >= length), len(sequences))
        if fits == len(sequences):
            sequences.append([])
            room.append(capacity)
        sequences[fits].append(place)
        room[fits] -= length
    return sequences


def pad(rows: Sequence[TrainingRow], token: int, device: torch.device, capacity: int | None = None) -> Padded:
    """The rows as tensors; `token` is the padding token, and `capacity` that of `micro_batches`."""
    sequences = [[i] for i in range(len(rows))]
    if capacity is not None:
        order = sorted(range(len(rows)), key=lambda i: (-rows[i].length, i))
        places = first_fit([rows[i].length for i in order], capacity)
        sequences = [[order[place] for place in of_sequence] for of_sequence in places]
    longest = max(len(row.response) for row in rows)
    width = max(sum(rows[i].length for i in members) for members in sequences)
    input_ids = torch.full((len(sequences), width), token)
    sequence, start = (torch.zeros(len(rows), dtype=torch.int64) for _ in range(2))
    for number, members in enumerate(sequences):
        column = 0
        for i in members:
            row, end = rows[i], column + rows[i].length
            input_ids[number, column:end] = torch.tensor([*row.prompt, *row.response])
            sequence[i], start[i] = number, column + len(row.prompt)
            column = end
    logp_old, logp_sampled = (torch.zeros((len(rows), longest)) for _ in range(2))
    for i, row in enumerate(rows):
        logp_old[i, : len(row.logp_old)] = torch.tensor(row.logp_old)
        logp_sampled[i, : len(row.logp_sampled)] = torch.tensor(row.logp_sampled)
    mask = torch.arange(longest) < torch.tensor([len(row.response) for row in rows])[:, None]
    recorded = torch.tensor([len(row.logp_old) > 0 for row in rows])
    return Padded(
        input_ids.to(device),
        sequence.to(device),
        start.to(device),
        mask.to(device),
        logp_old.to(device),
        recorded.to(device),
        logp_sampled.to(device),
        None if capacity is None else _positions(rows, sequences, width).to(device),
    )


def _positions(rows: Sequence[TrainingRow], sequences: Sequence[Sequence[int]], width: int) -> Tensor:
    """[S, L]: 0, 1, 2 and so on in each row of a sequence, and in the padding behind the last."""
    counted = []
    for members in sequences:
        lengths = [rows[i].length for i in members]
        counted.append(torch.cat([torch.arange(length) for length in (*lengths, width - sum(lengths))]))
    return torch.stack(counted)


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
