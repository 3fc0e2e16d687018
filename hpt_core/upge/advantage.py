"""A_hat, the advantage of a row over its baseline.

Each function maps the rows of a whole mini-batch to [B] float64, or to [B, T] where every token has its
own; its values for rows of the other kind are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hpt_core.groups import Groups
from hpt_core.types import RowInfo
from hpt_core.upge.options import Options

Advantage = Callable[[RowInfo, Options], Tensor]
Members = Callable[[RowInfo], Tensor]


def with_overlong_penalty(rows: RowInfo, options: Options) -> RowInfo:
    """The rows with rewards that the advantage reads: a rollout that nears the longest response is punished.

    R + penalty * clamp((L - buffer - length) / buffer, -1, 0): DAPO's soft overlong punishment, arXiv
    2503.14476, eq. 13. Demonstrations are not sampled, and keep their reward. Raises ValueError if `length`
    is not set or below the buffer.
    """
    buffer = options.overlong_buffer
    if buffer is None:
        return rows
    if not 0 < buffer <= options.constant_length:
        raise ValueError(f"overlong_buffer={buffer}: give 1 to length={options.length} tokens")
    penalty = options.overlong_penalty * overlong_share(rows.length, options.constant_length, buffer)
    reward = rows.reward.double()
    return replace(rows, reward=torch.where(rows.expert, reward, reward - penalty))


def overlong_share(length: Tensor, longest: int, buffer: int) -> Tensor:
    """[B], the share of the penalty that a response of `length` [B] tokens has: it rises over the buffer."""
    return ((length.double() - (longest - buffer)) / buffer).clamp(0.0, 1.0)


def one(rows: RowInfo, options: Options) -> Tensor:
    """A = 1 for every demonstration."""
    return torch.ones_like(rows.reward, dtype=torch.float64)


def reward(rows: RowInfo, options: Options) -> Tensor:
    """A = R, without a baseline."""
    return rows.reward.double()


def sign(rows: RowInfo, options: Options) -> Tensor:
    """A = 1 for a solved rollout, -1 for any other (SRFT, arXiv 2506.19767)."""
    return torch.where(rows.reward >= 1, 1.0, -1.0).double().masked_fill(rows.reward.isnan(), torch.nan)


def rollouts(rows: RowInfo) -> Tensor:
    """[B] bool: statistics of a group are over its rollouts."""
    return ~rows.expert


def all_rows(rows: RowInfo) -> Tensor:
    """[B] bool: statistics of a group are over its rollouts and demonstrations together."""
    return torch.ones_like(rows.expert)


def group_mean_baseline(rows: RowInfo, options: Options, over: Members = rollouts) -> Tensor:
    """A = R - mean of the group (Dr.GRPO, arXiv 2503.20783, section 3.2).

    Raises ValueError for a group of one, whose baseline would be its own reward.
    """
    groups, members = Groups.of(rows.group), over(rows)
    alone = groups.label[groups.count(members) == 1].tolist()
    if alone:
        raise ValueError(
            f"group {alone[0]} has a single row to take a baseline from ({len(alone)} such groups); sample "
            "at least two rollouts per prompt (rollout.group_size), or choose reinforce"
        )
    # Without the mask, rounding leaves 1e-17 for equal rewards, which would cost a forward pass.
    no_signal = groups.equal(rows.reward, members) | (groups.count(members) == 0)
    centred = rows.reward.double() - groups.mean(rows.reward, members)[groups.index]
    return centred.masked_fill(no_signal[groups.index] | ~members, 0.0)


def sample_std(variance: Tensor, count: Tensor) -> Tensor:
    """sqrt(sum of squares / (n - 1)), as verl, TRL and LUFFY release it."""
    return (variance * count / (count - 1)).sqrt()


def group_zscore(
    rows: RowInfo,
    options: Options,
    over: Members = rollouts,
    epsilon: float = 1e-6,
) -> Tensor:
    """A = (R - mean) / (std + epsilon) of the group (GRPO, arXiv 2402.03300, section 4.1.2).

    The paper writes no epsilon; 1e-6 is verl's. Raises ValueError for a group of one.
    """
    groups, members = Groups.of(rows.group), over(rows)
    centred = group_mean_baseline(rows, options, over)
    spread = sample_std(groups.mean(centred.square(), members), groups.count(members))
    return centred / (spread.nan_to_num() + epsilon)[groups.index]


def leave_one_out(rows: RowInfo, options: Options) -> Tensor:
    """A = R - mean of the group's other rollouts (RLOO, arXiv 2402.14740).

    Raises ValueError for a group of one.
    """
    groups = Groups.of(rows.group)
    count = groups.count(rollouts(rows))[groups.index]
    return group_mean_baseline(rows, options) * count / (count - 1).clamp(min=1)


def over_pass_rate(rows: RowInfo, options: Options) -> Tensor:
    """A = (R - P) / P, 0 where nothing was solved: the gradient of log P (MaxRL, arXiv 2602.02710).

    Raises ValueError for a group of one.
    """
    groups = Groups.of(rows.group)
    rate = groups.mean(rows.reward, rollouts(rows))[groups.index]
    # This comparison keeps a NaN rate NaN, so that `plan` raises.
    return torch.where(rate <= 0, 0.0, group_mean_baseline(rows, options) / rate)


def gae(rows: RowInfo, options: Options) -> Tensor:
    """A_t = sum_k (discount lambda)^k delta_{t+k},  delta_t = r_t + discount V_{t+1} - V_t, [B, T].

    GAE, arXiv 1506.02438, eq. 16, as PPO takes it (arXiv 1707.06347, eq. 11 and 12). The reward comes with
    the last token, and V after it is 0. Raises ValueError if `rows` has no value.
    """
    if rows.value is None:
        raise ValueError("ppo needs V of every token under the policy that sampled; pass value=... [B, T]")
    inside = torch.arange(rows.value.shape[1], device=rows.value.device) < rows.length[:, None]
    value = rows.value.double().masked_fill(~inside, 0.0)
    last = torch.arange(value.shape[1], device=value.device) == rows.length[:, None] - 1
    after = torch.nn.functional.pad(value[:, 1:], (0, 1))
    delta = torch.where(last, rows.reward.double()[:, None], 0.0) + options.discount * after - value
    advantage, carried = torch.zeros_like(value), torch.zeros_like(value[:, 0])
    for t in reversed(range(value.shape[1])):
        carried = delta[:, t] + options.discount * options.gae_lambda * carried
        advantage[:, t] = carried
    return advantage.masked_fill(~inside, 0.0)
