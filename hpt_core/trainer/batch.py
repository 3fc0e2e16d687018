"""From groups to tensors: the rows of a mini-batch, cut into micro-batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpt_core.rollout.group import Group, Task
from hpt_core.types import Rollout, Rows


@dataclass(frozen=True)
class Row:
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


def rows_of(groups: Sequence[Group], *, demonstrations: bool = True) -> list[Row]:
    """Every judged rollout and, if wanted, every demonstration of the groups, numbered in their order.

    The plan says which of them take part.
    """
    rows = []
    for number, group in enumerate(groups):
        rows += [
            _rollout(rollout, group.task, number) for rollout in group.rollouts if rollout.reward is not None
        ]
        if demonstrations and group.task.demonstration:
            rows.append(demonstration(group.task, number))
    return rows


def demonstration(task: Task, number: int) -> Row:
    """The row to imitate: the expert's response to the prompt, or the hint that was shown of it."""
    expert = task.expert
    assert expert is not None
    return Row(
        task.prompt.prompt_id, task.question, task.demonstration, (), 1.0, number, expert.kind, expert.source
    )


def _rollout(rollout: Rollout, task: Task, number: int) -> Row:
    done, reward = rollout.completion, rollout.reward
    assert reward is not None
    said = done.logprobs
    return Row(rollout.prompt_id, task.tokens, done.token_ids, said, reward, number, None, logp_sampled=said)


def facts(rows: Sequence[Row], device: torch.device) -> Rows:
    """What the estimator's plan reads of the rows."""
    values = None
    if any(row.value for row in rows):
        values = torch.zeros((len(rows), max(len(row.response) for row in rows)))
        for i, row in enumerate(rows):
            values[i, : len(row.value)] = torch.tensor(row.value)
        values = values.to(device)
    return Rows(
        reward=torch.tensor([row.reward for row in rows], device=device),
        group=torch.tensor([row.group for row in rows], device=device),
        expert=torch.tensor([row.kind is not None for row in rows], device=device),
        length=torch.tensor([len(row.response) for row in rows], device=device),
        value=values,
    )


def micro_batches(rows: Sequence[Row], active: Tensor, budget: int) -> Iterator[list[int]]:
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


def pad(rows: Sequence[Row], token: int, device: torch.device) -> Padded:
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
    rows: Sequence[Row], budget: int, device: torch.device, logp: Callable[[Padded], Tensor]
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
