"""1_stable, the stabilisation: which tokens may still change the policy, and how far.

Each function maps (tokens, ratio [B, T], A_hat [B, 1 or T], options) to the factor [B, T] on the ratio.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpt_core.types import Tokens
from hpt_core.upge.options import Options
from hpt_core.upge.reference import log_ratio

Stable = Callable[[Tokens, Tensor, Tensor, Options], Tensor]


def always(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """1 for every token."""
    return torch.ones_like(ratio)


def clip(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """The gradient of min(r A, clip(r, low, high) A): 0 once the ratio left the interval in A's direction.

    PPO, arXiv 1707.06347, eq. 7; with low and high apart DAPO's clip-higher, arXiv 2503.14476, eq. 8. With
    `clip_ratio_c` the gradient of max(min(.), c A) where A < 0: 0 above c, where PPO has no bound (dual clip,
    arXiv 1912.09729, eq. 5).
    """
    low, high = options.bounds
    inside = _within(ratio, advantage, low, high)
    if options.clip_ratio_c is None:
        return inside
    return inside.masked_fill((advantage < 0) & (ratio > options.clip_ratio_c), 0.0)


def clip_each(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """Like `clip`, on the logarithm of the token's own ratio, whatever ratio the estimator uses.

    GMPO, arXiv 2507.20673, section 3.2.
    """
    low, high = options.log_bounds
    return _within(log_ratio(tokens), advantage, low, high).to(ratio)


def truncate(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """clip(r, low, high) in place of r: no token is lost (CISPO, arXiv 2506.13585, eq. 4 and 5)."""
    return ratio.clamp(*options.bounds) / ratio


def sapo_sigmoid(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """f'(r) of the gate f(r) = (4 / tau) sigmoid(tau (r - 1)): 1 on-policy, falling off smoothly.

    SAPO, arXiv 2511.20347: tau = 1 where A > 0, else 1.05.
    """
    # `where` of two numbers is float32, and 1.05 in float32 differs from 1.05 in the ratio's dtype.
    tau = torch.where(advantage > 0, torch.ones_like(ratio), 1.05)
    gate = (tau * (ratio - 1)).sigmoid()
    return 4 * gate * (1 - gate)


def rl_plus_exploration(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """(1 - pi_theta)^0.5: tokens that the policy finds likely weigh little.

    RL-PLUS's exploration-based advantage, arXiv 2508.00222, with the released gamma of 0.5.
    """
    return (1 - tokens.logp.detach().exp()).clamp(min=0).sqrt()


def srft_exp_neg_entropy(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """0.5 exp(-H) of a demonstration: imitate less where the policy is unsure (SRFT, arXiv 2506.19767)."""
    return 0.5 * (-_row_entropy(tokens)).exp().expand_as(ratio)


def srft_exp_entropy(tokens: Tokens, ratio: Tensor, advantage: Tensor, options: Options) -> Tensor:
    """0.1 exp(H) of a solved rollout, 1 of a failed one (SRFT, arXiv 2506.19767)."""
    return torch.where(advantage > 0, 0.1 * _row_entropy(tokens).exp(), 1.0).expand_as(ratio)


CLIPS = frozenset({clip, clip_each, truncate})
"""The parts that limit a token by its ratio."""


def _within(value: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    too_far = torch.where(advantage > 0, value > high, value < low)
    return (~too_far).to(value)


def _row_entropy(tokens: Tokens) -> Tensor:
    """[B, 1], H of SRFT: the mean over a row's tokens, as in the code of arXiv 2509.04419.

    Raises ValueError if `tokens` has no entropy.
    """
    if tokens.entropy is None:
        raise ValueError("srft weighs rows by their entropy; pass Tokens(entropy=...) [B, T]")
    inside = tokens.entropy.detach().masked_fill(~tokens.mask, 0.0)
    return inside.sum(1, keepdim=True) / tokens.mask.sum(1, keepdim=True).clamp(min=1)
