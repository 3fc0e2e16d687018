"""How the surrogates read a batch: row by row, and without its padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import fmean

import torch
from torch import Tensor

from hpt_core.types import Tokens

LENGTH = 16
"""L, the longest response that may be sampled."""

Surrogate = Callable[[Tokens], Tensor]


def rollouts_by_prompt(batch: Tokens) -> Iterator[list[int]]:
    for prompt in batch.group.unique().tolist():
        yield [i for i in range(len(batch.group)) if batch.group[i] == prompt and not batch.expert[i]]


def rows_by_prompt(batch: Tokens) -> Iterator[list[int]]:
    """Rollouts and demonstration together."""
    for prompt in batch.group.unique().tolist():
        yield (batch.group == prompt).nonzero()[:, 0].tolist()


def demonstration_of(batch: Tokens, rollouts: list[int]) -> list[int]:
    prompt = batch.group[rollouts[0]]
    return [i for i in range(len(batch.group)) if batch.group[i] == prompt and batch.expert[i]]


def demonstrations(batch: Tokens) -> list[int]:
    return batch.expert.nonzero()[:, 0].tolist()


def reward(batch: Tokens, row: int) -> float:
    return batch.reward[row].item()


def logp(batch: Tokens, row: int) -> Tensor:
    return batch.logp[row][batch.mask[row]]


def logp_old(batch: Tokens, row: int) -> Tensor:
    return batch.logp_old[row][batch.mask[row]]


def ratio(batch: Tokens, row: int) -> Tensor:
    """pi_theta / pi_old, token by token."""
    return torch.exp(logp(batch, row) - logp_old(batch, row))


def entropy(batch: Tokens, row: int) -> float:
    """The mean over the row's tokens."""
    return batch.entropy[row][batch.mask[row]].mean().item()


def zscores(batch: Tokens, rows: list[int]) -> list[float]:
    """GRPO's advantage, with the sample std and verl's 1e-6."""
    rewards = batch.reward[rows]
    return ((rewards - rewards.mean()) / (rewards.std(unbiased=True) + 1e-6)).tolist()


def centred(batch: Tokens, rows: list[int]) -> list[float]:
    """Dr.GRPO's advantage."""
    baseline = fmean(reward(batch, i) for i in rows)
    return [reward(batch, i) - baseline for i in rows]


def ppo_clip(r: Tensor, a: Tensor | float, low: float = 0.2, high: float = 0.2) -> Tensor:
    """PPO, arXiv 1707.06347, eq. 7."""
    return torch.min(r * a, r.clamp(1 - low, 1 + high) * a)
