"""Published surrogates of the methods that train on rollouts and demonstrations."""

from __future__ import annotations

from math import exp, floor
from statistics import fmean

import torch
from torch import Tensor

from hpt_core.types import Tokens
from published.demonstrations import sft, trusted
from published.rollouts import token_mean_grpo
from published.rows import (
    LENGTH,
    centred,
    demonstration_of,
    demonstrations,
    entropy,
    logp,
    logp_old,
    ppo_clip,
    ratio,
    reward,
    rollouts_by_prompt,
    rows_by_prompt,
    zscores,
)


def luffy(batch: Tokens) -> Tensor:
    """arXiv 2504.14945, mixed-policy GRPO with policy shaping f(p) = p / (p + 0.1), pi_phi = 1.

    The advantage over rollouts and demonstrations together; 1/Z with Z all their tokens.
    """
    terms = []
    for rows in rows_by_prompt(batch):
        for i, a in zip(rows, zscores(batch, rows), strict=True):
            p = logp(batch, i).exp()
            terms.append(p / (p + 0.1) * a if batch.expert[i] else ppo_clip(ratio(batch, i), a))
    return -torch.cat(terms).mean()


def luffy_script(batch: Tokens) -> Tensor:
    """LUFFY's scripts: grpo_use_std False, loss_remove_clip, loss_remove_token_mean, f(p) = p / (p + 0.1).

    A sum over tokens by L, and here, where the release leaves it to the size of the batch, by the rows.
    """
    terms = []
    for rows in rows_by_prompt(batch):
        for i, a in zip(rows, centred(batch, rows), strict=True):
            p = logp(batch, i).exp()
            token = p / (p + 0.1) * a if batch.expert[i] else ratio(batch, i) * a
            terms.append(token.sum() / LENGTH)
    return -sum(terms) / len(terms)


def rl_plus(batch: Tokens) -> Tensor:
    """arXiv 2508.00222 as released: r A on rollouts, r_mis sg(sqrt(1 - p)) A on demonstrations.

    r_mis = 2 p / (p_old + omega), omega = (p_old + 1) / 2; A = R - mean over both; no clip. A sum over
    tokens by L, and here, where the release leaves it to the size of the batch, by the rows.
    """
    terms = []
    for rows in rows_by_prompt(batch):
        for i, a in zip(rows, centred(batch, rows), strict=True):
            if batch.expert[i]:
                p, old = logp(batch, i).exp(), logp_old(batch, i).exp()
                omega = 0.5 * (old + 1)
                token = 2 * p / (old + omega) * a * (1 - p.detach()) ** 0.5
            else:
                token = ratio(batch, i) * a
            terms.append(token.sum() / LENGTH)
    return -sum(terms) / len(terms)


def srft(batch: Tokens, script: bool = False) -> Tensor:
    """arXiv 2506.19767: L_SFT_demo + L_RL_demo + L_RL_self, H and the divisors as in arXiv 2509.04419.

    w_SFT = 0.5 exp(-H) and w_RL = 0.1 exp(H) of a row, constants; SFT over its tokens, RL over rows x L.
    On a demonstration r = p and no clip, A over rollouts and demonstration together. The `script` of HPT's
    authors has grpo_use_std False and p / (p + 0.1) in place of p.
    """
    imitation = [0.5 * exp(-entropy(batch, i)) * logp(batch, i) for i in demonstrations(batch)]
    terms = []
    for rows in rows_by_prompt(batch):
        for i, a in zip(rows, (centred if script else zscores)(batch, rows), strict=True):
            if batch.expert[i]:
                p = logp(batch, i).exp()
                token = (p / (p + 0.1) if script else p) * a
            elif reward(batch, i) == 1:
                token = 0.1 * exp(entropy(batch, i)) * logp(batch, i)
            else:
                token = -logp(batch, i)
            terms.append(token.sum() / LENGTH)
    return -torch.cat(imitation).mean() - sum(terms) / len(terms)


def srft_script(batch: Tokens) -> Tensor:
    return srft(batch, script=True)


def chord(batch: Tokens, mu: float = 0.1) -> Tensor:
    """CHORD-mu, arXiv 2508.11408, eq. 3: (1 - mu) L_GRPO + mu L_SFT, each the mean over its tokens."""
    return (1 - mu) * token_mean_grpo(batch) + mu * sft(batch)


def chord_phi(batch: Tokens, mu: float = 0.1) -> Tensor:
    """CHORD-phi, arXiv 2508.11408, eq. 5 and 6 as released: SFT weighs each token sg(p (1 - p))."""
    terms = []
    for i in demonstrations(batch):
        p = logp(batch, i).exp().detach()
        terms.append(p * (1 - p) * logp(batch, i))
    return (1 - mu) * token_mean_grpo(batch) - mu * torch.cat(terms).mean()


def relift(batch: Tokens) -> Tensor:
    """arXiv 2506.07527 as released: PPO's clip, 0.2 and 0.28, at A = R - mean, and SFT in full."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append(ppo_clip(ratio(batch, i), a, 0.2, 0.28))
    return -torch.cat(terms).mean() + sft(batch)


def relift_first(batch: Tokens) -> Tensor:
    """The first release: no clip, no std, a sum over tokens by L, and here by the rows; SFT in full."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append((ratio(batch, i) * a).sum() / LENGTH)
    return -sum(terms) / len(terms) + sft(batch)


def uft(batch: Tokens, beta: float = 0.001) -> Tensor:
    """arXiv 2505.16984 as released, without its KL: GRPO over all tokens + beta SFT."""
    return token_mean_grpo(batch) + beta * sft(batch)


def trapo(batch: Tokens) -> Tensor:
    """arXiv 2512.17636 as released (`train_trapo.sh`): grpo_use_std False, loss_remove_clip,
    loss_remove_token_mean, and TrSFT on the demonstration, here the whole of it.

    A sum over tokens by L, and here, where the release leaves it to the size of the batch, by the rows.
    """
    terms = [trusted(batch, i).sum() / LENGTH for i in demonstrations(batch)]
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append((ratio(batch, i) * a).sum() / LENGTH)
    return -sum(terms) / len(terms)


def hpt(batch: Tokens, gamma: float = 0.0, coefficient: float = 1.0) -> Tensor:
    """arXiv 2509.04419, section 3.3: L = alpha L_RL + beta L_SFT, the mean over prompts.

    L_RL is Dr.GRPO's without clip; a prompt without a demonstration has L_RL alone.
    """
    prompts = []
    for rollouts in rollouts_by_prompt(batch):
        demonstration = demonstration_of(batch, rollouts)
        pass_rate = fmean(reward(batch, i) for i in rollouts)
        if demonstration and pass_rate <= gamma:
            prompts.append(-coefficient * logp(batch, demonstration[0]).mean())
        else:
            prompts.append(_dr_grpo_of_a_prompt(batch, rollouts))
    return sum(prompts) / len(prompts)


SOFT = {
    0: (0.0, 0.0, 1.0),
    1: (0.0, 0.0, 1.0),
    2: (0.125, 0.5, 0.5),
    3: (0.25, 1.0, 0.25),
    4: (0.5, 0.5, 0.125),
    5: (1.0, 0.25, 0.0),
    6: (1.0, 0.125, 0.0),
    7: (1.0, 0.0, 0.0),
    8: (1.0, 0.0, 0.0),
}
"""Solved of 8 -> (RL, RL on the demonstration, SFT): soft_type 0 of the release, its row 1 for 0 as well."""


def hpt_soft(batch: Tokens, coefficient: float = 1.0, released: bool = False) -> Tensor:
    """The soft gate of arXiv 2509.04419's code: three weights for each prompt, by how many it solved.

    RL on the demonstration is LUFFY's p / (p + 0.1) times its own reward, the mean over its tokens. As
    `released`, the count is that of the rows of a prompt, of which the demonstration is one and solved: 7
    rollouts make 8 rows. A prompt of another size counts as that share of 7.
    """
    prompts = []
    for rollouts in rollouts_by_prompt(batch):
        rl = _dr_grpo_of_a_prompt(batch, rollouts)
        demonstration = demonstration_of(batch, rollouts)
        if demonstration:
            pass_rate = fmean(reward(batch, i) for i in rollouts)
            counted = floor(7 * pass_rate + 1e-9) + 1 if released else floor(8 * pass_rate + 1e-9)
            on, off, imitate = SOFT[counted]
            p = logp(batch, demonstration[0]).exp()
            offline = -(reward(batch, demonstration[0]) * p / (p + 0.1)).mean()
            rl = on * rl + off * offline - imitate * coefficient * logp(batch, demonstration[0]).mean()
        prompts.append(rl)
    return sum(prompts) / len(prompts)


def _dr_grpo_of_a_prompt(batch: Tokens, rollouts: list[int]) -> Tensor:
    advantages = centred(batch, rollouts)
    sums = [(ratio(batch, i) * a).sum() / LENGTH for i, a in zip(rollouts, advantages, strict=True)]
    return -sum(sums) / len(rollouts)
