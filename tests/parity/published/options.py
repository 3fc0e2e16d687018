"""Published surrogates of options that several methods have, each on GRPO with the mean over all tokens."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor

from hpt_core.types import Tokens
from published.rows import LENGTH, logp_old, ppo_clip, ratio, reward, rollouts_by_prompt, zscores


def dual_clip(batch: Tokens, c: float) -> Tensor:
    """verl's vanilla loss: the worse of PPO's two terms, and where A < 0 at most -A c (arXiv 1912.09729, eq.
    5)."""
    losses = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            loss = torch.maximum(-a * ratio(batch, i), -a * ratio(batch, i).clamp(0.8, 1.2))
            losses.append(torch.minimum(loss, torch.full_like(loss, -a * c)) if a < 0 else loss)
    return torch.cat(losses).mean()


def two_sided(batch: Tokens, delta: float) -> Tensor:
    """TRL's delta: the ratio of the unclipped term is at most delta, whatever the sign of A."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            r = ratio(batch, i)
            terms.append(torch.min(r.clamp(max=delta) * a, r.clamp(0.8, 1.2) * a))
    return -torch.cat(terms).mean()


def sequence_masked(batch: Tokens, low: float, high: float, other: str, statistic: str) -> Tensor:
    """SkyRL's geometric and product masks: rows outside [low, high] are lost, and the denominator stays.

    `other` is what stands below pi: "sampler" for pi_old / pi_sampler, "old" for pi_theta / pi_old.
    """
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            said = batch.mask[i]
            d = ratio(batch, i).log().detach()
            if other == "sampler":
                d = logp_old(batch, i) - batch.logp_sampled[i][said]
            of_row = d.mean().exp() if statistic == "geometric" else d.exp().prod()
            inside = low <= of_row.item() <= high
            terms.append(inside * ppo_clip(ratio(batch, i), a))
    return -torch.cat(terms).mean()


def overlong_reward(length: int, buffer: int, longest: int = LENGTH) -> float:
    """DAPO, arXiv 2503.14476, eq. 13, case by case."""
    if length <= longest - buffer:
        return 0.0
    if length <= longest:
        return ((longest - buffer) - length) / buffer
    return -1.0


def overlong(batch: Tokens, buffer: int, penalty: float, longest: int = LENGTH) -> Tensor:
    """DAPO with its penalty in the reward, clip 0.2 and 0.28, the mean over all tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        rewards = [
            reward(batch, i) + penalty * overlong_reward(int(batch.mask[i].sum()), buffer, longest)
            for i in rollouts
        ]
        std = torch.tensor(rewards, dtype=torch.float64).std(unbiased=True).item()
        for i, r in zip(rollouts, rewards, strict=True):
            a = (r - fmean(rewards)) / (std + 1e-6)
            terms.append(ppo_clip(ratio(batch, i), a, 0.2, 0.28))
    return -torch.cat(terms).mean()
