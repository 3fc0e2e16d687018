"""The mix of rollouts and demonstrations: the weight of each row in each term."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hpt_core.groups import Groups
from hpt_core.types import RowInfo
from hpt_core.upge.options import Options


class Weights(NamedTuple):
    """Weights of the rows in each term, [B] float64, never negative; read for the rows of the term."""

    rollouts: Tensor
    demonstrations: Tensor
    offline: Tensor
    no_expert: Tensor
    """[B] bool, the gate leaves the prompt to its demonstration alone, and the prompt has none."""


RowWeighting = Callable[[RowInfo, Options], Weights]


def even(rows: RowInfo, options: Options) -> Weights:
    """Every row weighs the same."""
    ones = torch.ones_like(rows.reward, dtype=torch.float64)
    return Weights(ones, ones, ones, _nowhere(rows))


def imitating(rows: RowInfo, options: Options) -> Weights:
    """Demonstrations weigh `sft_coefficient`, beside rollouts of 1 (UFT's beta, arXiv 2505.16984)."""
    ones = torch.ones_like(rows.reward, dtype=torch.float64)
    return Weights(ones, ones * options.sft_coefficient, ones, _nowhere(rows))


def by_schedule(rows: RowInfo, options: Options) -> Weights:
    """(1 - mu) L_RL + mu L_SFT, mu moving with the step (CHORD, arXiv 2508.11408)."""
    ones = torch.ones_like(rows.reward, dtype=torch.float64)
    return Weights((1 - options.mu) * ones, options.mu * ones, options.mu * ones, _nowhere(rows))


def by_pass_rate(rows: RowInfo, options: Options) -> Weights:
    """alpha = f(P) on rollouts, beta = g(P) x sft_coefficient on demonstrations, P the prompt's pass rate.

    A soft gate has a weight for RL on the demonstration as well. A prompt without a demonstration is left
    to RL: alpha = 1. Raises ValueError for a demonstration whose prompt has no rollouts, since its P is
    unknown, and for a weight that is negative or no number.
    """
    groups = Groups.of(rows.group)
    has_rollouts, has_expert = groups.count(~rows.expert) > 0, groups.count(rows.expert) > 0
    unknown = groups.label[~has_rollouts].tolist()
    if unknown:
        raise ValueError(
            f"group {unknown[0]} has a demonstration and no rollouts ({len(unknown)} such groups), so its "
            "pass rate is unknown; sample rollouts of every prompt, or choose sft"
        )
    rate = groups.mean(rows.reward, ~rows.expert)
    alpha, beta = (weight.double() for weight in options.gating(rate))
    offline = options.gating.offline(rate).double()
    _check_weights(rate, torch.stack([alpha, beta, offline]))
    per_prompt = (
        torch.where(has_expert, alpha, 1.0),
        beta * options.sft_coefficient,
        offline,
        ~has_expert & ~(alpha > 0),
    )
    return Weights(*(weights[groups.index] for weights in per_prompt))


def _check_weights(rate: Tensor, weights: Tensor) -> None:
    """rate [G], weights [3, G]. A P that is no number is left to the check of the rewards."""
    wrong = rate.isfinite() & ~(weights.isfinite() & (weights >= 0)).all(0)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"the gate's alpha, beta and offline are {weights[:, at].tolist()} at P = {float(rate[at])}; "
            "give it formulas that are numbers, and never negative, at every P"
        )


def _nowhere(rows: RowInfo) -> Tensor:
    return torch.zeros_like(rows.expert)
