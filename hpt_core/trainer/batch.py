"""From groups to tensors: the rows of a mini-batch, cut into micro-batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpt_core.policy.batching import TrainingRow, micro_batches
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.ranks import Ranks, deal
from hpt_core.types import Rollout, RowInfo


def rows_of(groups: Sequence[Group], *, demonstrations: bool = True) -> list[TrainingRow]:
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


def demonstration(task: Task, number: int) -> TrainingRow:
    """The row to imitate: the expert's response to the prompt, or the hint that was shown of it."""
    expert = task.expert
    assert expert is not None
    return TrainingRow(
        task.prompt.prompt_id, task.question, task.demonstration, (), 1.0, number, expert.kind, expert.source
    )


def _rollout(rollout: Rollout, task: Task, number: int) -> TrainingRow:
    done, reward = rollout.completion, rollout.reward
    assert reward is not None
    said = done.logprobs
    return TrainingRow(
        rollout.prompt_id, task.tokens, done.token_ids, said, reward, number, None, logp_sampled=said
    )


def row_info(rows: Sequence[TrainingRow], device: torch.device) -> RowInfo:
    """What the estimator's plan reads of the rows."""
    values = None
    if any(row.value for row in rows):
        values = torch.zeros((len(rows), max(len(row.response) for row in rows)))
        for i, row in enumerate(rows):
            values[i, : len(row.value)] = torch.tensor(row.value)
        values = values.to(device)
    return RowInfo(
        reward=torch.tensor([row.reward for row in rows], device=device),
        group=torch.tensor([row.group for row in rows], device=device),
        expert=torch.tensor([row.kind is not None for row in rows], device=device),
        length=torch.tensor([len(row.response) for row in rows], device=device),
        value=values,
    )


def rank_batches(
    rows: Sequence[TrainingRow], active: Tensor, budget: int, ranks: Ranks
) -> list[list[int] | None]:
    """This rank's micro-batches of the active rows [B] bool, as many as on every other rank.

    None stands for one that it has not. Every rank makes this out for all, so that none need be asked.
    """
    where = active.nonzero().squeeze(1)
    cuts = []
    for positions in deal([rows[i].length for i in where.tolist()], ranks.count):
        dealt = torch.zeros_like(active)
        dealt[where[positions]] = True
        cuts.append(list(micro_batches(rows, dealt, budget)))
    mine = cuts[ranks.index]
    return [*mine, *[None] * (max(map(len, cuts)) - len(mine))]


def dummy_row(rows: Sequence[TrainingRow], active: Tensor) -> list[TrainingRow]:
    """A row for a forward pass to no effect, in step with the other ranks'.

    An active one, so that what it overflows in is an error already.
    """
    return [min((rows[i] for i in active.nonzero().squeeze(1).tolist()), key=lambda row: row.length)]
