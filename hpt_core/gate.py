"""The gate of HPT: how a prompt's pass rate P divides it between its rollouts and its demonstration.

A gate maps P to (alpha, beta), the weights of L_RL and L_SFT (arXiv 2509.04419, section 3.3):

    L = alpha * L_RL(rollouts) + beta * L_SFT(demonstration),   alpha = f(P),  beta = g(P)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Route = Literal["sft", "rl", "equal", "no_expert"]
Rate = TypeVar("Rate", float, "Tensor")


class Gate(Protocol):
    """P of any shape -> (alpha, beta) of that shape; P is a float or a tensor."""

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]: ...


@dataclass(frozen=True)
class Switch:
    """The paper's gate: alpha = 1[P > gamma], beta = 1[P <= gamma]."""

    gamma: float = 0.0

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return 1.0 * (pass_rate > self.gamma), 1.0 * (pass_rate <= self.gamma)

    def route(self, pass_rate: float, rewards_equal: bool, has_expert: bool) -> Route:
        """What the switch does with one prompt, by name.

        sft: its demonstration is trained on; rl: its rollouts are; equal: the rollouts all earned the
        same, so there is nothing to learn from them; no_expert: a demonstration is wanted and missing,
        so that the prompt keeps to its rollouts, whatever they are worth.
        """
        if pass_rate > self.gamma:
            return "equal" if rewards_equal else "rl"
        return "sft" if has_expert else "no_expert"


@dataclass(frozen=True)
class Mix:
    """Any pair of functions of P: alpha = f(P), beta = g(P), neither ever negative."""

    f: Callable[[Rate], Rate]
    g: Callable[[Rate], Rate]

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return self.f(pass_rate), self.g(pass_rate)
