"""Ragged random mini-batches in float64: rows of 1 to 9 tokens, groups of 1 to 8, many of them off-policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from hpt_core.types import Tokens

GROUP_SIZES = (8, 7, 6, 5, 4, 3, 2, 8, 4)
EQUAL_REWARDS = {3: 1.0, 5: 0.0, 7: 0.1}
"""Groups whose rollouts all earned the same; 0.1 is not exact in binary, so that its mean rounds."""


def ragged_batch(seed: int, smallest: int = 2, expert_every: int = 2) -> Tokens:
    """A batch whose rows stand in random order; every `expert_every`th group has a demonstration (0: none).

    What no algorithm may read (logp_old and reward of demonstrations, padding) is NaN, apart from the
    reward of a demonstration, which LUFFY reads.
    """
    draw = torch.Generator().manual_seed(seed)
    reward, group, expert = [], [], []
    for number, size in enumerate((1, *GROUP_SIZES) if smallest == 1 else GROUP_SIZES):
        rolls = torch.randint(0, 2, (size,), generator=draw).double()
        rolls[0], rolls[-1] = 0.0, 1.0
        reward += [EQUAL_REWARDS.get(number, value) for value in rolls.tolist()]
        group += [10 * number + 3] * size
        expert += [False] * size
        if expert_every and number % expert_every == 1:
            reward, group, expert = [*reward, 1.0], [*group, 10 * number + 3], [*expert, True]

    rows, longest = len(reward), 9
    length = torch.randint(1, longest + 1, (rows,), generator=draw)
    length[0], length[1] = 1, longest
    mask = torch.arange(longest + 2) < length[:, None]
    logp = -3 * torch.rand(mask.shape, generator=draw, dtype=torch.float64) - 0.01
    noise = 0.5 * torch.randn(mask.shape, generator=draw, dtype=torch.float64)
    is_expert = torch.tensor(expert)
    old = (logp + noise).masked_fill(is_expert[:, None] | ~mask, torch.nan)
    order = torch.randperm(rows, generator=draw)
    batch = Tokens(
        logp.masked_fill(~mask, torch.nan),
        old,
        mask,
        torch.tensor(reward, dtype=torch.float64),
        torch.tensor(group),
        is_expert,
    )
    return with_leaf(take(batch, order))


def take(batch: Tokens, rows: torch.Tensor | list[int]) -> Tokens:
    """Some rows of the batch, in the order asked for."""
    fields = (batch.logp, batch.logp_old, batch.mask, batch.reward, batch.group, batch.expert)
    return Tokens(*(field[rows] for field in fields))


def with_leaf(batch: Tokens) -> Tokens:
    """The same batch with a fresh logp that gradients collect in."""
    return replace(batch, logp=batch.logp.detach().clone().requires_grad_())


@pytest.fixture
def ragged() -> Callable[..., Tokens]:
    return ragged_batch


@pytest.fixture
def cut() -> Callable[[Tokens, torch.Tensor | list[int]], Tokens]:
    return take


@pytest.fixture
def leaf() -> Callable[[Tokens], Tokens]:
    return with_leaf
