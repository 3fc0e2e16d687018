"""The mix of rollouts and demonstrations: the weight of each row, [B] float64 and never negative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.types import Rows
from hpt_core.upge.groups import Groups
from hpt_core.upge.options import Options

Mix = Callable[[Rows, Options], Tensor]


def even(rows: Rows, options: Options) -> Tensor:
    """Every row weighs the same."""
    return torch.ones_like(rows.reward, dtype=torch.float64)


def by_pass_rate(rows: Rows, options: Options) -> Tensor:
    """alpha = f(P) on rollouts, beta = g(P) x sft_coefficient on demonstrations, P the prompt's pass rate.

    A prompt without a demonstration is left to RL: alpha = 1. Raises ValueError for a demonstration
    whose prompt has no rollouts, since its P is unknown.
    """
    groups = Groups.of(rows.group)
    has_rollouts, has_expert = groups.count(~rows.expert) > 0, groups.count(rows.expert) > 0
    unknown = groups.label[~has_rollouts].tolist()
    if unknown:
        raise ValueError(
            f"group {unknown[0]} has a demonstration and no rollouts ({len(unknown)} such groups), so its "
            "pass rate is unknown; sample rollouts of every prompt, or choose sft"
        )
    alpha, beta = options.gating(groups.mean(rows.reward, ~rows.expert))
    on_rollouts = torch.where(has_expert, alpha.double(), 1.0)
    on_demonstrations = beta.double() * options.sft_coefficient
    return torch.where(rows.expert, on_demonstrations[groups.index], on_rollouts[groups.index])
