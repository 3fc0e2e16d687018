"""Parts of the methods that params.yaml sets: the gate, schedules, the KL and PPO's value head."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpt_core import formula
from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat

_CHECKED_GROUP = 128
"""Rollouts up to which every pass rate is checked; their number grows with the square."""


class GateConfig(Config):
    """How a prompt's pass rate P divides it between its rollouts and its demonstration.

    switch: alpha = 1[P > gamma], beta = 1[P <= gamma] (HPT, arXiv 2509.04419, section 3.3).
    soft, soft_released: the table of its released code. formula: alpha, beta and offline as functions of P.
    """

    kind: Literal["switch", "soft", "soft_released", "formula"] = "switch"
    """Kind of gate. switch divides at gamma. soft is the table of HPT's released code by rollouts solved of
    8; soft_released by rollouts solved of 7, as the release uses it, which counts the demonstration as one of
    the prompt's 8 rows. With another `rollout.group_size`, a row holds from its share of solved rollouts on.
    formula takes alpha, beta and offline."""
    gamma: Fraction = 0.0
    """P <= gamma trains on the demonstration, P > gamma on the rollouts; for `kind: switch`."""
    alpha: str = "P > 0"
    """Weight of the rollouts as a formula of P, for `kind: formula`. A formula has numbers, P, + - * / **,
    comparisons (1 or 0), and abs, min, max, exp, sqrt; its value is never negative."""
    beta: str = "P <= 0"
    """Weight of SFT on the demonstration as a formula of P, for `kind: formula`."""
    offline: str = "0"
    """Weight of RL on the demonstration as a formula of P, for `kind: formula`."""

    @model_validator(mode="after")
    def _weights_are_never_negative(self) -> GateConfig:
        self.check(group_size=8)
        return self

    def check(self, group_size: int) -> None:
        """Raise ValueError for a formula without a valid value at a pass rate of up to `group_size` rollouts.

        A rollout without a verdict is not counted, so that every k of n occurs with n <= group_size. Above
        `_CHECKED_GROUP` rollouts the check reads the rates of the whole group and of groups up to that size.
        """
        sizes = [group_size, *range(min(group_size - 1, _CHECKED_GROUP), 0, -1)]
        rates = {k / n: f"{k}/{n}" for n in sizes for k in range(n + 1)}
        for name in ("alpha", "beta", "offline"):
            weight = formula.parse(getattr(self, name))
            for rate, solved in sorted(rates.items()):
                at = f"P = {rate}" + ("" if rate in (0, 1) else f" ({solved} solved)")
                try:
                    value = weight(rate)
                except (ArithmeticError, TypeError) as error:  # TypeError: a comparison of sqrt(-1)
                    raise ValueError(f"{name} has no value at {at}: {error}") from error
                if isinstance(value, complex) or not 0 <= value < inf:
                    raise ValueError(f"{name} is {value} at {at}; a weight is a number and never negative")


class MixSchedule(Config):
    """CHORD's mu, the weight of the demonstrations: a linear rise from 0 to `peak`, then half a cosine down
    to `valley`."""

    peak: Fraction
    """Largest mu, reached after the warm-up."""
    valley: Fraction
    """Final mu, kept to the end of training."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which mu rises from 0 to `peak`."""
    decay_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which mu then falls from `peak` to `valley`."""


class HintConfig(Config):
    """UFT's hint: rollouts continue a part of the demonstration, which shrinks in the course of training."""

    slices: Positive = 5
    """Slices that a demonstration is cut into. The number of slices in a hint is drawn from a binomial
    distribution."""
    high: Fraction = 0.95
    """Probability of each slice at the first step; half a cosine leads from it to `low`."""
    low: Fraction = 0.05
    """Probability of each slice at the last step with hints."""
    steps: Positive = 300
    """Steps with hints; later steps have none."""


class KLConfig(Config):
    """The penalty coefficient x KL(policy || starting policy), on the rollouts that the gate keeps."""

    coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL penalty; 0: none."""
    estimate: Literal["k1", "k2", "k3", "k3_capped"] = "k3"
    """Estimator of the KL divergence per token. k3_capped is k3 as verl has it, at most 10 and without a
    gradient there."""


class ValueConfig(Config):
    """PPO's value head, a linear layer on the policy's last hidden state. Other algorithms ignore it."""

    coefficient: PositiveFloat = 0.1
    """Weight of the value loss (V - return)^2 / 2."""
    clip: PositiveFloat | None = 0.5
    """Largest move of V from its old value that the loss allows; null: any."""
    lr: PositiveFloat = 1e-4
    """Learning rate of the value head."""
    discount: Fraction = 1.0
    """Discount factor of the return per token."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation (GAE)."""
