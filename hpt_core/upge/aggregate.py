"""The aggregation, a fifth part that the formula leaves out: the denominator of the sum over tokens.

Each function maps the rows of a whole mini-batch, and which of them a term trains on, to the denominator
[B] float64 of every token of a row. Since it is fixed before the batch is cut, the gradient is the same
however it is cut. A row of zero weight counts in the denominator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.groups import Groups
from hpt_core.types import RowInfo
from hpt_core.upge.options import Options

Aggregate = Callable[[RowInfo, Tensor, Options], Tensor]


def token_mean(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
    """Every token weighs the same: all tokens of the mini-batch (DAPO, arXiv 2503.14476, eq. 8)."""
    return torch.ones_like(rows.length, dtype=torch.float64) * rows.length[trained].sum()


def sequence_mean(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
    """Every row weighs the same: rows x own length (GRPO, arXiv 2402.03300, eq. 3)."""
    return _lengths(rows) * trained.sum()


def sequence_sum(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
    """log pi of whole rows, averaged: rows (the policy gradient theorem as it stands)."""
    return torch.ones_like(rows.length, dtype=torch.float64) * trained.sum()


def constant(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
    """Rows weigh the same whatever their length: rows x L (Dr.GRPO, arXiv 2503.20783, listing 1)."""
    return sequence_sum(rows, trained, options) * options.constant_length


def prompt_mean(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
    """Every prompt weighs the same: the mean over prompts of (HPT, arXiv 2509.04419, section 3.3)

    1/n sum_i sum_t (.) / L over its n rollouts + the mean over the tokens of its demonstration.
    """
    groups = Groups.of(rows.group)
    rollouts = groups.count(~rows.expert)[groups.index] * options.constant_length
    demonstrations = groups.count(rows.expert)[groups.index] * _lengths(rows)
    return torch.where(rows.expert, demonstrations, rollouts) * len(groups.label)


def jointly(aggregate: Aggregate) -> Aggregate:
    """`aggregate` over rollouts and demonstrations together, for methods that take one mean of both."""

    def over_all(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
        return aggregate(rows, torch.ones_like(trained), options)

    return over_all


def _lengths(rows: RowInfo) -> Tensor:
    """[B] float64, at least 1: an empty response adds nothing, whatever its denominator."""
    return rows.length.clamp(min=1).double()
