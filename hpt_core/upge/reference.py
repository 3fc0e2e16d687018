"""pi_ref, the denominator of the estimator: the probability that the likelihood is measured against.

Each function maps (tokens, A_hat [B, 1 or T], options) to log pi_ref [B, T]; its values outside the mask are
not read.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

from hpt_core.types import Tokens
from hpt_core.upge.options import Options

Reference = Callable[[Tokens, Tensor, Options], Tensor]


def pi_theta(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """The policy itself: the ratio is 1 and the estimator is A * grad log pi (REINFORCE, SFT)."""
    return tokens.logp.detach()


def pi_old(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """The policy that sampled the rollouts: PPO's importance ratio."""
    return tokens.logp_old


def one(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """pi_ref = 1, for tokens of an unknown policy (LUFFY, arXiv 2504.14945)."""
    return torch.zeros_like(tokens.logp)


def trust_region(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """max(pi_theta, 0.1): the ratio is 1 for a token that the policy trusts, and falls with pi_theta below.

    TrSFT of TRAPO, arXiv 2512.17636, with the released bound.
    """
    return tokens.logp.detach().clamp(min=log(0.1))


def sequence(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """pi_theta * (pi_old / pi_theta)^(1/|tau|), so that every token has the ratio of its sequence.

    s = (pi_theta(tau) / pi_old(tau))^(1/|tau|): GSPO, arXiv 2507.18071, eq. 7.
    """
    return tokens.logp.detach() - row_mean(log_ratio(tokens), tokens.mask)


def product(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """Every token has the ratio pi_theta(tau) / pi_old(tau) of its whole row (TRL's RLOO)."""
    inside = log_ratio(tokens).masked_fill(~tokens.mask, 0.0)
    return tokens.logp.detach() - inside.sum(1, keepdim=True)


def geometric(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """Like `sequence`, over token ratios that are clipped in the direction of A_hat.

    GMPO, arXiv 2507.20673, eq. 4: log ratios at most epsilon where A > 0, at least -epsilon where A < 0.
    """
    low, high = options.log_bounds
    own = log_ratio(tokens)
    clipped = torch.where(advantage > 0, own.clamp(max=high), own.clamp(min=low))
    return tokens.logp.detach() - row_mean(clipped, tokens.mask)


def mixture(tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
    """(pi_old + pi_omega) / 2, with (pi_old + 1) / 2 for pi_omega, the unknown policy of the demonstration.

    RL-PLUS's multiple importance sampling, arXiv 2508.00222, as released.
    """
    old = tokens.logp_old.exp()
    return ((old + (old + 1) / 2) / 2).log()


def log_ratio(tokens: Tokens) -> Tensor:
    """log(pi_theta / pi_old) [B, T], detached."""
    return tokens.logp.detach() - tokens.logp_old


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """[B, T] -> [B, 1], the mean over each row's own tokens."""
    return values.masked_fill(~mask, 0.0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
