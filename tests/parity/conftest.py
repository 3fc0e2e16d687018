"""Ragged random mini-batches in float64: rows of 1 to 9 tokens, groups of 1 to 8, many of them off-policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from hpt_core.types import Tokens

LONGEST = 9
GROUP_SIZES = (8, 7, 6, 5, 4, 3, 2, 8, 4)
EQUAL_REWARDS = {3: 1.0, 5: 0.0, 7: 0.1}
"""Groups whose rollouts all earned the same; 0.1 is not exact in binary, so that its mean rounds."""
FRACTIONAL = 4
"""The group whose rewards are any number in [0, 1)."""
POOR_DEMONSTRATION = 5
"""The group whose demonstration earned 0.75, where the others earned 1."""
NO_BASELINE = {"sft", "dft", "psft", "trsft", "reinforce", "ppo"}


def ragged_batch(
    seed: int, smallest: int = 2, expert_every: int = 2, old_demonstrations: bool = False
) -> Tokens:
    """A batch whose rows stand in random order; every `expert_every`th group has a demonstration (0: none).

    What no algorithm may read is NaN: padding, V of demonstrations, and their logp_old unless asked for.
    """
    draw = torch.Generator().manual_seed(seed)
    reward, group, expert = _who(draw, (1, *GROUP_SIZES) if smallest == 1 else GROUP_SIZES, expert_every)
    length = torch.randint(1, LONGEST + 1, reward.shape, generator=draw)
    length[0], length[1] = 1, LONGEST
    mask = torch.arange(LONGEST + 2) < length[:, None]

    def uniform() -> Tensor:
        return torch.rand(mask.shape, generator=draw, dtype=torch.float64)

    logp = -3 * uniform() - 0.01
    # A part of it is the whole row's, so that ratios of sequences are clipped as well.
    noise = 0.45 * torch.randn(mask.shape, generator=draw, dtype=torch.float64)
    noise = noise + 0.5 * torch.randn(len(reward), 1, generator=draw, dtype=torch.float64)
    unknown = ~mask | (expert[:, None] & (not old_demonstrations))
    batch = Tokens(
        logp.masked_fill(~mask, torch.nan),
        # No probability is above 1.
        (logp + noise).clamp(max=-1e-3).masked_fill(unknown, torch.nan),
        mask,
        reward,
        group,
        expert,
        entropy=(0.05 + 2 * uniform()).masked_fill(~mask, torch.nan),
        value=(1.5 * uniform() - 0.25).masked_fill(~mask | expert[:, None], torch.nan),
    )
    return with_leaf(take(batch, torch.randperm(len(reward), generator=draw)))


def _who(draw: torch.Generator, sizes: tuple[int, ...], expert_every: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reward, group and expert of the rows, group by group."""
    reward, group, expert = [], [], []
    for number, size in enumerate(sizes):
        rolls = torch.randint(0, 2, (size,), generator=draw).double()
        if number == FRACTIONAL:
            rolls = torch.rand(size, generator=draw, dtype=torch.float64)
        rolls[0], rolls[-1] = 0.0, 1.0
        reward += [EQUAL_REWARDS.get(number, value) for value in rolls.tolist()]
        group += [10 * number + 3] * size
        expert += [False] * size
        if expert_every and number % expert_every == expert_every - 1:
            reward.append(0.75 if number == POOR_DEMONSTRATION else 1.0)
            group.append(10 * number + 3)
            expert.append(True)
    return torch.tensor(reward, dtype=torch.float64), torch.tensor(group), torch.tensor(expert)


def take(batch: Tokens, rows: Tensor | list[int]) -> Tokens:
    """Some rows of the batch, in the order asked for."""
    return each(batch, lambda field: field[rows])


def trim(batch: Tokens) -> Tokens:
    """The batch without the columns that no row reaches, as a micro-batch of short rows comes."""
    longest = int(batch.mask.any(0).sum())
    return each(batch, lambda field: field[:, :longest] if field.ndim == 2 else field)


def each(batch: Tokens, change: Callable[[Tensor], Tensor]) -> Tokens:
    """The batch with every field changed in the same way."""
    given = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Tokens(**{name: None if value is None else change(value) for name, value in given.items()})


def with_leaf(batch: Tokens) -> Tokens:
    """The same batch with a fresh logp that gradients collect in."""
    return replace(batch, logp=batch.logp.detach().clone().requires_grad_())


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors are tiny, and a second thread would only wait for the first; golden traces need no more."""
    torch.set_num_threads(1)


@pytest.fixture
def ragged() -> Callable[..., Tokens]:
    return ragged_batch


@pytest.fixture
def ragged_for() -> Callable[..., Tokens]:
    """The batch that an algorithm of that name needs, groups of one included where it has no baseline.

    Only two may read logp_old of demonstrations. PSFT clips them, and gets more of them for it.
    """

    def make(name: str, seed: int, **shape: int) -> Tokens:
        own = {"smallest": 1 if name in NO_BASELINE else 2, "expert_every": 1 if name == "psft" else 2}
        return ragged_batch(seed, old_demonstrations=name in ("psft", "rl_plus"), **(own | shape))

    return make


@pytest.fixture
def cut() -> Callable[[Tokens, Tensor | list[int]], Tokens]:
    return take


@pytest.fixture
def trimmed() -> Callable[[Tokens], Tokens]:
    return trim


@pytest.fixture
def leaf() -> Callable[[Tokens], Tokens]:
    return with_leaf
