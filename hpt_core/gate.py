"""The gate of HPT: how a prompt's pass rate P divides it between its rollouts and its demonstration.

A gate maps P to (alpha, beta), the weights of L_RL and L_SFT (arXiv 2509.04419, section 3.3):

    L = alpha * L_RL(rollouts) + beta * L_SFT(demonstration),   alpha = f(P),  beta = g(P)

and, in the soft gate alone, to the weight of a third term: RL on the demonstration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hpt_core import formula

if TYPE_CHECKING:
    from torch import Tensor

    from hpt_core.config import GateConfig

Route = Literal["sft", "rl", "both", "equal", "no_expert"]
IMITATED: tuple[Route, ...] = ("sft", "both")
"""Routes on which the demonstration is trained on."""
Rate = TypeVar("Rate", float, "Tensor")


class Gate(ABC):
    """P of any shape -> (alpha, beta) of that shape; P is a float or a tensor."""

    @abstractmethod
    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]: ...

    def offline(self, pass_rate: Rate, /) -> Rate:
        """The weight of RL on the demonstration."""
        return pass_rate * 0.0

    def route(self, pass_rate: float, rewards_equal: bool, has_expert: bool) -> Route:
        """What the gate does with one prompt, by name.

        sft: its demonstration is trained on; rl: its rollouts are; both: both are; equal: the rollouts
        all earned the same, so there is nothing to learn from them; no_expert: only a demonstration is
        wanted and it is missing, so that the prompt keeps to its rollouts, whatever they are worth.
        """
        alpha, beta = self(pass_rate)
        wanted = beta > 0 or self.offline(pass_rate) > 0
        if not alpha > 0:
            return "sft" if has_expert else "no_expert"
        if wanted and has_expert:
            return "sft" if rewards_equal else "both"
        return "equal" if rewards_equal else "rl"


@dataclass(frozen=True)
class Switch(Gate):
    """The paper's gate: alpha = 1[P > gamma], beta = 1[P <= gamma]."""

    gamma: float = 0.0

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return 1.0 * (pass_rate > self.gamma), 1.0 * (pass_rate <= self.gamma)


@dataclass(frozen=True)
class FormulaGate(Gate):
    """Any pair of functions of P: alpha = f(P), beta = g(P), neither ever negative."""

    f: Callable[[Any], Any]
    g: Callable[[Any], Any]
    h: Callable[[Any], Any] = lambda pass_rate: pass_rate * 0.0
    """Of RL on the demonstration."""

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return self.f(pass_rate), self.g(pass_rate)

    def offline(self, pass_rate: Rate, /) -> Rate:
        weight: Rate = self.h(pass_rate)
        return weight


PUBLISHED = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, 1.0),
    (0.125, 0.5, 0.5),
    (0.25, 1.0, 0.25),
    (0.5, 0.5, 0.125),
    (1.0, 0.25, 0.0),
    (1.0, 0.125, 0.0),
    (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.0),
)
"""(RL, offline RL, SFT) for 0 to 8 solved of 8, from the code of arXiv 2509.04419."""


@dataclass(frozen=True)
class Table(Gate):
    """A step function of P: row i holds from P = i / (rows - 1) on. The soft gate by default."""

    rows: tuple[tuple[float, float, float], ...] = PUBLISHED

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return self._column(0, pass_rate), self._column(2, pass_rate)

    def offline(self, pass_rate: Rate, /) -> Rate:
        return self._column(1, pass_rate)

    def _column(self, column: int, pass_rate: Rate) -> Rate:
        # Product and sum, so that a float and a tensor take the same path, and a weight comes out as it
        # stands in the table. A rate that rounding left just below its step is on it: 1 - 0.9 is 1 / 10.
        last, one = len(self.rows) - 1, pass_rate * 0.0 + 1.0
        weight = self.rows[0][column] * one
        for i in range(1, last + 1):
            # Times a one of P's dtype, since a tensor of bools times 1.0 is float32.
            reached = one * (pass_rate >= i / last - 1e-6)
            weight = weight * (one - reached) + self.rows[i][column] * reached
        return weight


@cache
def gate_of(config: GateConfig) -> Gate:
    """The gate that the parameters name; asked for with every prompt, its formulas are parsed once."""
    match config.kind:
        case "switch":
            return Switch(config.gamma)
        case "soft":
            return Table()
        case "formula":
            return FormulaGate(*(formula.parse(text) for text in (config.alpha, config.beta, config.offline)))
