"""1_stable, the stabilisation: which tokens may still move the policy, and how far.

Each function maps (ratio [B, T], advantage [B, 1], bounds) to the factor [B, T] on the ratio.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Bounds = tuple[float, float]
Stable = Callable[[Tensor, Tensor, Bounds], Tensor]


def always(ratio: Tensor, advantage: Tensor, bounds: Bounds) -> Tensor:
    """Every token counts."""
    return torch.ones_like(ratio)


def clip(ratio: Tensor, advantage: Tensor, bounds: Bounds) -> Tensor:
    """The gradient of min(r A, clip(r, low, high) A): 0 once the ratio has gone as far as A asked.

    PPO, arXiv 1707.06347, eq. 7; with low and high apart DAPO's clip-higher, arXiv 2503.14476, eq. 8.
    """
    low, high = bounds
    too_far = torch.where(advantage > 0, ratio > high, ratio < low)
    return (~too_far).to(ratio)


def truncate(ratio: Tensor, advantage: Tensor, bounds: Bounds) -> Tensor:
    """clip(r, low, high) in place of r: no token is lost (CISPO, arXiv 2506.13585, eq. 4 and 5)."""
    return ratio.clamp(*bounds) / ratio
