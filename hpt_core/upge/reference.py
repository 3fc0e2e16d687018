"""pi_ref, the denominator of the estimator: whose probability the likelihood is measured against.

Each function maps tokens to log pi_ref [B, T]; what it says where the mask is False is not read.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.types import Tokens

Reference = Callable[[Tokens], Tensor]


def pi_theta(tokens: Tokens) -> Tensor:
    """The policy itself: the ratio is 1 and the estimator is A * grad log pi (REINFORCE, SFT)."""
    return tokens.logp.detach()


def pi_old(tokens: Tokens) -> Tensor:
    """The policy that sampled the rollouts: PPO's importance ratio."""
    return tokens.logp_old


def one(tokens: Tokens) -> Tensor:
    """pi_ref = 1, where nobody knows who wrote the tokens (LUFFY, arXiv 2504.14945)."""
    return torch.zeros_like(tokens.logp)


def sequence(tokens: Tokens) -> Tensor:
    """pi_theta * (pi_old / pi_theta)^(1/|tau|), so that every token has the ratio of its sequence.

    s = (pi_theta(tau) / pi_old(tau))^(1/|tau|): GSPO, arXiv 2507.18071, eq. 7.
    """
    logp = tokens.logp.detach()
    log_ratio = (logp - tokens.logp_old).masked_fill(~tokens.mask, 0.0).sum(1, keepdim=True)
    return logp - log_ratio / tokens.mask.sum(1, keepdim=True).clamp(min=1)
