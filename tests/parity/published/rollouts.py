"""Published surrogates of the methods that train on rollouts alone."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor

from hpt_core.types import Tokens
from published.rows import (
    LENGTH,
    centred,
    logp,
    logp_old,
    ppo_clip,
    ratio,
    reward,
    rollouts_by_prompt,
    zscores,
)


def reinforce(batch: Tokens) -> Tensor:
    """Williams 1992: mean over trajectories of R log pi(tau)."""
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    return -sum(reward(batch, i) * logp(batch, i).sum() for i in rows) / len(rows)


def rloo(batch: Tokens) -> Tensor:
    """arXiv 2402.14740: mean over trajectories of (R_i - mean of the R_j, j != i) log pi(tau_i)."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i in rollouts:
            baseline = fmean(reward(batch, j) for j in rollouts if j != i)
            terms.append((reward(batch, i) - baseline) * logp(batch, i).sum())
    return -sum(terms) / len(terms)


def rloo_verl(batch: Tokens) -> Tensor:
    """verl's adv_estimator rloo with its default loss: A = n / (n - 1) (R - mean), PPO's clip, mean over
    tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        n = len(rollouts)
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i), n / (n - 1) * a))
    return -torch.cat(terms).mean()


def rloo_trl(batch: Tokens) -> Tensor:
    """TRL's RLOOTrainer without its KL in the reward: PPO's clip of the ratio of the row, mean over rows."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i in rollouts:
            baseline = fmean(reward(batch, j) for j in rollouts if j != i)
            whole = torch.exp(logp(batch, i).sum() - logp_old(batch, i).sum())
            terms.append(ppo_clip(whole, reward(batch, i) - baseline))
    return -torch.stack(terms).mean()


def ppo(batch: Tokens, discount: float = 1.0, lam: float = 1.0) -> Tensor:
    """arXiv 1707.06347, eq. 7, with A of eq. 11, the mean over all tokens; A is not whitened."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i in rollouts:
            value = [*batch.value[i][batch.mask[i]].tolist(), 0.0]
            last = len(value) - 2
            rewards = [reward(batch, i) if t == last else 0.0 for t in range(last + 1)]
            delta = [rewards[t] + discount * value[t + 1] - value[t] for t in range(last + 1)]
            for t, r in enumerate(ratio(batch, i)):
                a = sum((discount * lam) ** k * delta[t + k] for k in range(last + 1 - t))
                terms.append(ppo_clip(r, a))
    return -torch.stack(terms).mean()


def grpo(batch: Tokens) -> Tensor:
    """DeepSeekMath, arXiv 2402.03300, eq. 3 at beta = 0, averaged over all rollouts."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i), a).mean())
    return -sum(terms) / len(terms)


def dr_grpo(batch: Tokens) -> Tensor:
    """arXiv 2503.20783, section 3.2, with the constant of its listing 1 for the length."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i), a).sum() / LENGTH)
    return -sum(terms) / len(terms)


def token_mean_grpo(batch: Tokens, low: float = 0.2, high: float = 0.2) -> Tensor:
    """GRPO averaged over all tokens, which DAPO, CHORD and UFT start from."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i), a, low, high))
    return -torch.cat(terms).mean()


def dapo(batch: Tokens) -> Tensor:
    """arXiv 2503.14476, eq. 8: epsilon_low 0.2, epsilon_high 0.28, the mean over all tokens."""
    return token_mean_grpo(batch, 0.2, 0.28)


def cispo(batch: Tokens) -> Tensor:
    """MiniMax-M1, arXiv 2506.13585, eq. 4 and 5: sg(clip(r)) A log pi, the mean over all tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ratio(batch, i).clamp(0.8, 1.2).detach() * a * logp(batch, i))
    return -torch.cat(terms).mean()


def cispo_trl(batch: Tokens, largest: float = 5.0) -> Tensor:
    """TRL's loss_type cispo with epsilon_high 5: sg(min(r, 5)) A log pi, the mean over all tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ratio(batch, i).clamp(max=largest).detach() * a * logp(batch, i))
    return -torch.cat(terms).mean()


def cispo_mask(batch: Tokens) -> Tensor:
    """arXiv 2509.04419, its table: the token is dropped where it went too far, else sg(r) A log pi."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            for r, lp in zip(ratio(batch, i), logp(batch, i), strict=True):
                dropped = (a > 0 and r > 1.2) or (a < 0 and r < 0.8)
                terms.append(0.0 * lp if dropped else r.detach() * a * lp)
    return -torch.stack(terms).mean()


def gspo(batch: Tokens, low: float = 0.2, high: float = 0.2) -> Tensor:
    """arXiv 2507.18071, eq. 5 to 7: one ratio per sequence, the geometric mean of its tokens'."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i).log().mean().exp(), a, low, high))
    return -sum(terms) / len(terms)


def gspo_paper(batch: Tokens) -> Tensor:
    """The same with the clip of the paper's section 5.1, which verl and TRL recommend too."""
    return gspo(batch, 3e-4, 4e-4)


def gmpo(batch: Tokens, low: float = 0.4, high: float = 0.4) -> Tensor:
    """arXiv 2507.20673 as its release writes it, one product of ratios for each sequence.

    The sign s of -A makes a maximum of both clips; the range (e^-low, e^high) is taken in logarithms and
    token by token, before the product.
    """
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            s = -1 if a >= 0 else 1
            moved = s * (logp(batch, i) - logp_old(batch, i))
            held = moved.clamp(-high, low) if s < 0 else moved.clamp(-low, high)
            ratios = torch.exp(s * torch.max(moved, held))
            terms.append(ratios.prod() ** (1 / len(ratios)) * a)
    return -sum(terms) / len(terms)


def sapo(batch: Tokens) -> Tensor:
    """arXiv 2511.20347: (4 / tau) sigmoid(tau (r - 1)) A, tau = 1 for A > 0 and 1.05 for the rest."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            tau = 1.0 if a > 0 else 1.05
            terms.append((4 / tau * torch.sigmoid(tau * (ratio(batch, i) - 1)) * a).mean())
    return -sum(terms) / len(terms)


def maxrl(batch: Tokens) -> Tensor:
    """arXiv 2602.02710, algorithm 1: A = (R - mean) / mean, in PPO's clip, the mean over all tokens.

    A prompt that nothing solved has A = 0.
    """
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        rate = fmean(reward(batch, i) for i in rollouts)
        for i in rollouts:
            a = (reward(batch, i) - rate) / rate if rate > 0 else 0.0
            terms.append(ppo_clip(ratio(batch, i), a))
    return -torch.cat(terms).mean()
