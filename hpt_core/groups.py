"""Statistics over the rows of each prompt: the pass rate P, and whether all its rewards are equal.

They are computed here alone, in float64, since a prompt has few rows; gates compare up to
`formula.TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

DECIMALS = 9
"""Decimals that tell apart the float32 numbers of [0.1, 1]."""


@dataclass(frozen=True)
class Groups:
    """The G prompts that B rows belong to."""

    label: Tensor
    """[G] int64, the number of each prompt."""
    index: Tensor
    """[B] int64, the position in `label` of each row's prompt."""

    @classmethod
    def of(cls, group: Tensor) -> Groups:
        label, index = torch.unique(group, return_inverse=True)
        return cls(label, index)

    def count(self, members: Tensor) -> Tensor:
        """[B] bool -> [G], how many members each prompt has."""
        return self._reduce(members, members, "sum")

    def mean(self, values: Tensor, members: Tensor) -> Tensor:
        """[B], [B] bool -> [G], the mean over each prompt's members; 0 where it has none."""
        return self._reduce(values, members, "mean")

    def equal(self, values: Tensor, members: Tensor) -> Tensor:
        """[B], [B] bool -> [G] bool, the members of the prompt all have the same value."""
        return self._reduce(values, members, "amax") == self._reduce(values, members, "amin")

    def _reduce(self, values: Tensor, members: Tensor, how: Literal["sum", "mean", "amax", "amin"]) -> Tensor:
        # Only members are read: the reward of a demonstration may be anything, NaN included.
        start = torch.zeros(len(self.label), dtype=torch.float64, device=values.device)
        return start.scatter_reduce(0, self.index[members], values[members].double(), how, include_self=False)


def in_float64(rewards: Tensor) -> Tensor:
    """[B] of any dtype -> [B] float64, the shortest decimals that the dtype rounds to `rewards`.

    0.1 as float32 is 0.100000001, and the rates of a gate would lie above 0.1. float64 is returned as it is.
    """
    wide = rewards.double()
    if rewards.dtype == torch.float64:
        return wide
    meant, found = wide.clone(), wide.isnan()
    for decimals in range(DECIMALS + 1):
        rounded = wide.round(decimals=decimals)
        fits = ~found & (rounded.to(rewards.dtype) == rewards)
        meant, found = torch.where(fits, rounded, meant), found | fits
    return meant


def pass_rate(rewards: Sequence[float]) -> float:
    """P of one prompt: the mean verified reward of its rollouts (arXiv 2509.04419, section 3.3)."""
    return float(_one_prompt(rewards).mean(*_members(rewards)))


def rewards_equal(rewards: Sequence[float]) -> bool:
    """Whether the rollouts of one prompt all have the same reward, so that RL has no signal."""
    return bool(_one_prompt(rewards).equal(*_members(rewards)))


def _one_prompt(rewards: Sequence[float]) -> Groups:
    return Groups.of(torch.zeros(len(rewards), dtype=torch.int64))


def _members(rewards: Sequence[float]) -> tuple[Tensor, Tensor]:
    values = torch.tensor(rewards, dtype=torch.float64)
    return values, torch.ones_like(values, dtype=torch.bool)
