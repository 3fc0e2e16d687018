"""The options of the algorithms; each algorithm reads those that concern it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpt_core.gate import Gate, Switch


@dataclass(frozen=True)
class Importance:
    """The limits of the weight pi_old / pi_sampler, of trainer and sampler, of what was rolled out."""

    high: float
    """Largest weight. Above it, truncate gives `high`, and mask 0."""
    low: float = 0.0
    """Smallest weight of a mask, which gives 0 below it."""
    level: Literal["token", "sequence"] = "token"
    """Each token has its own ratio, or each token of a rollout the product of them all."""
    kind: Literal["truncate", "mask"] = "truncate"


@dataclass(frozen=True)
class SequenceMask:
    """The interval [low, high] outside of which a ratio of a whole rollout takes the rollout out of an
    update."""

    low: float
    high: float
    ratio: Literal["sampler", "old"] = "sampler"
    """sampler: pi_old / pi_sampler, of trainer and sampler. old: pi_theta / pi_old."""
    statistic: Literal["geometric", "product"] = "geometric"
    """The geometric mean of the ratios of its tokens, or their product."""


@dataclass(frozen=True)
class Options:
    gamma: float = 0.0
    """HPT's threshold on the pass rate, in [0, 1]."""
    clip: float | tuple[float, float] = 0.2
    """epsilon, or (epsilon_low, epsilon_high): the ratio is clipped to [1 - low, 1 + high]; for GMPO to
    [exp(-low), exp(high)]."""
    clip_ratio_c: float | None = None
    """c > 1 of the dual clip: a token with A < 0 and a ratio above c has no gradient (arXiv 1912.09729)."""
    sequence_mask: SequenceMask | None = None
    """Rollouts whose ratio is outside of an interval have no gradient."""
    overlong_buffer: int | None = None
    """Tokens before `length` over which DAPO's penalty for long responses rises to `overlong_penalty`."""
    overlong_penalty: float = 0.5
    """Penalty of a rollout of `length` tokens, in units of the reward."""
    sft_coefficient: float = 1.0
    """Weight of a demonstration beside the rollouts."""
    length: int | None = None
    """L of a constant denominator, in tokens: the longest response that may be sampled."""
    gate: Gate | None = None
    """Replaces the switch at gamma."""
    mu: float = 0.1
    """CHORD's share of the demonstrations, in [0, 1]; the trainer moves it along a schedule."""
    importance: Importance | None = None
    """Rollouts weigh pi_old / pi_sampler, within limits."""
    discount: float = 1.0
    """PPO's gamma, for each token."""
    gae_lambda: float = 1.0
    """PPO's lambda: 1 gives the reward to go minus the value, 0 the one-step error."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that the ratio is clipped to."""
        low, high = self._epsilons
        return 1.0 - low, 1.0 + high

    @property
    def log_bounds(self) -> tuple[float, float]:
        """The interval that the logarithm of the ratio is clipped to."""
        low, high = self._epsilons
        return -low, high

    @property
    def gating(self) -> Gate:
        return self.gate or Switch(self.gamma)

    @property
    def constant_length(self) -> int:
        """L. Raises ValueError if it is not set, since an L taken from the data would change with them."""
        if self.length is None or self.length < 1:
            raise ValueError(
                f"length={self.length}: a constant denominator or a penalty for long responses needs the "
                "longest response that may be sampled, in tokens; pass length=max_new_tokens"
            )
        return self.length

    @property
    def _epsilons(self) -> tuple[float, float]:
        return self.clip if isinstance(self.clip, tuple) else (self.clip, self.clip)
