"""A_hat, the advantage of a row over what was to be expected.

Each function maps the rows of a whole mini-batch to [B] float64; what it says of rows outside its
own kind is not read.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.types import Rows
from hpt_core.upge.groups import Groups

Advantage = Callable[[Rows], Tensor]
Members = Callable[[Rows], Tensor]
Std = Callable[[Tensor, Tensor], Tensor]


def one(rows: Rows) -> Tensor:
    """A = 1: a demonstration is always worth imitating."""
    return torch.ones_like(rows.reward, dtype=torch.float64)


def reward(rows: Rows) -> Tensor:
    """A = R, without a baseline."""
    return rows.reward.double()


def rollouts(rows: Rows) -> Tensor:
    """[B] bool, the group's statistics are taken over its rollouts."""
    return ~rows.expert


def everyone(rows: Rows) -> Tensor:
    """[B] bool, over its rollouts and its demonstrations together."""
    return torch.ones_like(rows.expert)


def group_mean_baseline(rows: Rows, over: Members = rollouts) -> Tensor:
    """A = R - mean of the group (Dr.GRPO, arXiv 2503.20783, section 3.2).

    Raises ValueError for a group of one: its own reward as baseline says nothing.
    """
    groups, members = Groups.of(rows.group), over(rows)
    alone = groups.label[groups.count(members) == 1].tolist()
    if alone:
        raise ValueError(
            f"group {alone[0]} has a single row to take a baseline from ({len(alone)} such groups); sample "
            "at least two rollouts per prompt (rollout.group_size), or choose reinforce"
        )
    # Rounding would leave 1e-17 where all earned the same, and a forward pass would be spent on it.
    silent = groups.equal(rows.reward, members) | (groups.count(members) == 0)
    centred = rows.reward.double() - groups.mean(rows.reward, members)[groups.index]
    return centred.masked_fill(silent[groups.index] | ~members, 0.0)


def sample_std(variance: Tensor, count: Tensor) -> Tensor:
    """sqrt(sum of squares / (n - 1)), as verl, TRL and LUFFY release it."""
    return (variance * count / (count - 1)).sqrt()


def population_std(variance: Tensor, count: Tensor) -> Tensor:
    """sqrt(sum of squares / n)."""
    return variance.sqrt()


def group_zscore(
    rows: Rows, over: Members = rollouts, std: Std = sample_std, epsilon: float = 1e-6
) -> Tensor:
    """A = (R - mean) / (std + epsilon) of the group (GRPO, arXiv 2402.03300, section 4.1.2).

    The paper writes no epsilon; 1e-6 is verl's. Raises ValueError for a group of one.
    """
    groups, members = Groups.of(rows.group), over(rows)
    centred = group_mean_baseline(rows, over)
    spread = std(groups.mean(centred.square(), members), groups.count(members))
    return centred / (spread.nan_to_num() + epsilon)[groups.index]
