"""The rows of a mini-batch, from groups, and the micro-batches of them that each rank computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpt_core.policy.batching import TrainingRow, micro_batches
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.ranks import Ranks, deal
from hpt_core.types import Rollout, RowInfo


def rows_of(groups: Sequence[Group], *, demonstrations: bool = True) -> list[TrainingRow]:
    """Every judged rollout and, with `demonstrations`, every demonstration; groups are numbered in order.

    The plan decides which of these rows have a gradient.
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
    """The row to imitate: the expert's response to the prompt or, with a hint, the hint alone."""
    expert = task.expert
    assert expert is not None
    return TrainingRow(
        task.prompt.prompt_id,
        task.question,
        task.demonstration,
        logp_old=(),
        reward=1.0,
        group=number,
        kind=expert.kind,
        source=expert.source,
        trajectory_id=expert.trajectory_id,
    )


def _rollout(rollout: Rollout, task: Task, number: int) -> TrainingRow:
    completion = rollout.completion
    assert rollout.reward is not None
    return TrainingRow(
        rollout.prompt_id,
        task.tokens,
        completion.token_ids,
        logp_old=completion.logprobs,
        reward=rollout.reward,
        group=number,
        kind=None,
        logp_sampled=completion.logprobs,
        sample=rollout.sample,
    )


def row_info(rows: Sequence[TrainingRow], device: torch.device) -> RowInfo:
    """The rows as the estimator's plan takes them."""
    values = None
    if any(row.value for row in rows):
        values = torch.zeros((len(rows), max(len(row.response) for row in rows)))
        for i, row in enumerate(rows):
            values[i, : len(row.value)] = torch.tensor(row.value)
        values = values.to(device)
    return RowInfo(
        # float64, since float32 would move a reward such as 0.1 across the gate's threshold.
        reward=torch.tensor([row.reward for row in rows], dtype=torch.float64, device=device),
        group=torch.tensor([row.group for row in rows], dtype=torch.int64, device=device),
        expert=torch.tensor([row.kind is not None for row in rows], dtype=torch.bool, device=device),
        length=torch.tensor([len(row.response) for row in rows], dtype=torch.int64, device=device),
        value=values,
    )


def rank_batches(
    rows: Sequence[TrainingRow], active: Tensor, budget: int, ranks: Ranks, capacity: int | None = None
) -> list[list[int] | None]:
    """Row indices of this rank's micro-batches of the active rows [B] bool, as many as on every other rank.
    Ranks that share rows have the same.

    None stands for a micro-batch that this rank lacks. Each rank computes the cuts of all ranks, so no
    communication is needed.
    """
    where = active.nonzero().squeeze(1)
    cuts = []
    for positions in deal([rows[i].length for i in where.tolist()], ranks.count // ranks.sharing):
        dealt = torch.zeros_like(active)
        dealt[where[positions]] = True
        cuts.append(list(micro_batches(rows, dealt, budget, capacity)))
    mine = cuts[ranks.index // ranks.sharing]
    return [*mine, *[None] * (max(map(len, cuts)) - len(mine))]


def dummy_row(rows: Sequence[TrainingRow], active: Tensor) -> list[TrainingRow]:
    """The shortest active row, for a forward pass without effect beside those of the other ranks.

    The row is active, so an error in it would also be raised elsewhere.
    """
    return [min((rows[i] for i in active.nonzero().squeeze(1).tolist()), key=lambda row: row.length)]
