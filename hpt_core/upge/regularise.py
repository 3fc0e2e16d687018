"""The terms beside the estimator, each with a coefficient of its own: KL, entropy and value loss.

Each is a sum over the tokens of the rollouts that the mix keeps, divided by the number of such tokens in the
whole mini-batch, so that it is the same however the mini-batch is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hpt_core.types import RowInfo
from hpt_core.upge.advantage import gae, with_overlong_penalty
from hpt_core.upge.options import Options

KLName = Literal["k1", "k2", "k3", "k3_capped"]


def k1(log_ratio: Tensor) -> Tensor:
    """log(pi_theta / pi_0): the unbiased estimate of KL(pi_theta || pi_0); its gradient is 0 on average."""
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """(log ratio)^2 / 2: biased in value; on-policy its gradient is that of the KL."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """pi_0 / pi_theta - 1 - log(pi_0 / pi_theta): unbiased, never negative (arXiv 2402.03300, eq. 4)."""
    # Without a bound on the log ratio the exponential overflows float32. A bound on the exponent alone would
    # leave a gradient away from pi_0.
    clamped = log_ratio.clamp(min=-20)
    return (-clamped).exp() - 1 + clamped


def k3_capped(log_ratio: Tensor) -> Tensor:
    """k3 as verl, SkyRL and the releases built on them have it: log ratios within 20, the value at most 10.

    There is no gradient past either, which is below a log ratio of -2.6: a token that the policy has all but
    given up is not pulled back.
    """
    clamped = log_ratio.clamp(-20, 20)
    return ((-clamped).exp() - 1 + clamped).clamp(max=10)


KL: dict[KLName, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "k3_capped": k3_capped}
"""Estimates of KL(pi_theta || pi_0) of a token from its log ratio (Schulman 2020)."""


def value_error(value: Tensor, value_old: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """(V - return)^2 / 2 of each token, [B, T]; with a clip, the worse of V and V clipped to V_old +- clip.

    The clipped form is that of PPO's public implementations (verl clips at 0.5).
    """
    error = (value - returns).square()
    if clip is not None:
        clipped = value_old + (value - value_old).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - returns).square())
    return error / 2


def returns(rows: RowInfo, options: Options) -> Tensor:
    """The targets of V, [B, T]: A of GAE plus V_old."""
    assert rows.value is not None
    return gae(with_overlong_penalty(rows, options), options) + rows.value.double()


@dataclass(frozen=True)
class Regularisers:
    """The coefficients of the terms; 0 leaves a term out."""

    kl: float = 0.0
    kl_estimate: KLName = "k3"
    entropy: float = 0.0
    value: float = 0.0
    value_clip: float | None = None

    def __bool__(self) -> bool:
        return bool(self.kl or self.entropy or self.value)

    def __call__(self, inputs: RegulariserInputs, mask: Tensor, count: int) -> Tensor:
        """kl KL - entropy H + value (V - return)^2 / 2 over the tokens of `mask` [B, T], over `count`."""
        inputs = inputs.at(mask)
        total = torch.zeros_like(inputs.logp)
        if self.kl:
            assert inputs.logp_reference is not None
            total = total + self.kl * KL[self.kl_estimate](inputs.logp - inputs.logp_reference)
        if self.entropy:
            assert inputs.entropy is not None
            total = total - self.entropy * inputs.entropy
        if self.value:
            total = total + self.value * inputs.value_error(self.value_clip)
        return total.sum() / count


@dataclass(frozen=True)
class RegulariserInputs:
    """The inputs of the regularisers, [B, T] each; only those of the terms in use are needed."""

    logp: Tensor
    logp_reference: Tensor | None = None
    entropy: Tensor | None = None
    value: Tensor | None = None
    value_old: Tensor | None = None
    returns: Tensor | None = None

    def at(self, mask: Tensor) -> RegulariserInputs:
        """The tokens of `mask`, [N] each."""
        # The mask comes before the arithmetic, since 0 times the slope at a NaN is a NaN.
        return RegulariserInputs(
            **{name: field[mask] for name, field in vars(self).items() if field is not None}
        )

    def value_error(self, clip: float | None) -> Tensor:
        assert self.value is not None and self.value_old is not None and self.returns is not None
        return value_error(self.value, self.value_old, self.returns, clip)
