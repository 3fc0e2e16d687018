"""grad pi_theta, the gradient of the likelihood; in general of f(pi_theta / pi_ref).

Each function maps the ratio [B, T] to the slope f'(ratio) [B, T], the factor that f adds to the
estimator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Likelihood = Callable[[Tensor], Tensor]


def identity(ratio: Tensor) -> Tensor:
    """f(r) = r."""
    return torch.ones_like(ratio)


def shaped(ratio: Tensor) -> Tensor:
    """f(r) = r / (r + 0.1), steep where the token is unlikely under the policy.

    LUFFY's policy shaping, arXiv 2504.14945, with its gamma = 0.1.
    """
    return 0.1 / (ratio + 0.1).square()


def chord_phi_slope(ratio: Tensor) -> Tensor:
    """f(r) = r - r^2 / 2 of r = pi_theta: its gradient is p (1 - p) grad log p.

    CHORD's phi, arXiv 2508.11408: small for tokens that are almost certain or almost impossible.
    """
    return 1 - ratio
