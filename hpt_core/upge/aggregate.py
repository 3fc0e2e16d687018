"""The aggregation, a fifth choice that the formula leaves out: what the sum over tokens is divided by.

Each function maps the rows of a whole mini-batch, and which of them a term trains on, to the denominator
[B] float64 of every token of a row. Since it is fixed before the batch is cut, the gradient is the same
for every cut. A row of zero weight counts: to leave it out changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.types import RowInfo
from hpt_core.upge.groups import Groups
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
    """No row is favoured for its length: rows x L (Dr.GRPO, arXiv 2503.20783, listing 1)."""
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
    """Over rollouts and demonstrations together, where a method takes one mean of both."""

    def over_all(rows: RowInfo, trained: Tensor, options: Options) -> Tensor:
        return aggregate(rows, torch.ones_like(trained), options)

    return over_all


def _lengths(rows: RowInfo) -> Tensor:
    """[B] float64; a response of no tokens adds nothing, so what it is divided by is free."""
    return rows.length.clamp(min=1).double()
