"""The gate of HPT: the weights of a prompt's rollouts and its demonstration, from its pass rate P.

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
from hpt_core.formula import above, at_least

if TYPE_CHECKING:
    from torch import Tensor

    from hpt_core.config import GateConfig

Route = Literal["sft", "rl", "both", "equal", "no_expert", "none"]
IMITATED: tuple[Route, ...] = ("sft", "both")
"""Routes on which the demonstration has a gradient."""
Rate = TypeVar("Rate", float, "Tensor")


class Gate(ABC):
    """P of any shape -> (alpha, beta) of that shape; P is a float or a tensor."""

    @abstractmethod
    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]: ...

    def offline(self, pass_rate: Rate, /) -> Rate:
        """The weight of RL on the demonstration."""
        return pass_rate * 0.0


@dataclass(frozen=True)
class Switch(Gate):
    """The paper's gate: alpha = 1[P > gamma], beta = 1[P <= gamma]; P is gamma up to `formula.TOLERANCE`."""

    gamma: float = 0.0

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return 1.0 * above(pass_rate, self.gamma), 1.0 * at_least(self.gamma, pass_rate)


@dataclass(frozen=True)
class FormulaGate(Gate):
    """Any pair of functions of P: alpha = f(P), beta = g(P), neither negative."""

    f: Callable[[Any], Any]
    g: Callable[[Any], Any]
    h: Callable[[Any], Any] = lambda pass_rate: pass_rate * 0.0
    """The weight of RL on the demonstration."""

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

OF_SEVEN = PUBLISHED[1:]
"""(RL, offline RL, SFT) for 0 to 7 solved of 7: the release counts the solved rows of a prompt, which are 7
rollouts and its demonstration. The row of 0 solved, of which it says that it should not occur, is never
read."""


@dataclass(frozen=True)
class Table(Gate):
    """A step function of P: row i holds from P = i / (rows - 1) on. By default the table by rollouts solved
    of 8.

    With n rollouts, other than rows - 1, the row is that of the largest i / (rows - 1) that k / n reaches.
    """

    rows: tuple[tuple[float, float, float], ...] = PUBLISHED

    def __call__(self, pass_rate: Rate, /) -> tuple[Rate, Rate]:
        return self._column(0, pass_rate), self._column(2, pass_rate)

    def offline(self, pass_rate: Rate, /) -> Rate:
        return self._column(1, pass_rate)

    def _column(self, column: int, pass_rate: Rate) -> Rate:
        # Products and sums serve floats and tensors alike, and give each weight exactly as in the table.
        # A rate that rounding left just below its step, such as 1 - 0.9, is on it.
        last, one = len(self.rows) - 1, pass_rate * 0.0 + 1.0
        weight = self.rows[0][column] * one
        for i in range(1, last + 1):
            # `one` has P's dtype; a tensor of bools times 1.0 would be float32.
            reached = one * at_least(pass_rate, i / last)
            weight = weight * (one - reached) + self.rows[i][column] * reached
        return weight


@cache
def gate_of(config: GateConfig) -> Gate:
    """The gate of the parameters; cached, so that formulas are parsed once."""
    match config.kind:
        case "switch":
            return Switch(config.gamma)
        case "soft":
            return Table()
        case "soft_released":
            return Table(OF_SEVEN)
        case "formula":
            return FormulaGate(*(formula.parse(text) for text in (config.alpha, config.beta, config.offline)))


def route(*, rollouts: bool, demonstration: bool, kept: bool, no_expert: bool) -> Route:
    """The route of a prompt: which of its rows have a gradient.

    rollouts, demonstration: whether its rollouts and its demonstration have a gradient. kept: whether its
    rollouts have a weight above 0, even if their advantage is 0. no_expert: whether the gate chose the
    demonstration and the prompt has none.

    "sft": the demonstration alone. "rl": the rollouts alone. "both". "equal": neither, since all rollouts
    have the same reward. "no_expert": the demonstration is missing, so the rollouts keep their weight,
    whatever their advantage. "none": neither, since the method gives the prompt no weight.
    """
    if demonstration:
        return "both" if rollouts else "sft"
    if no_expert:
        return "no_expert"
    if rollouts:
        return "rl"
    return "equal" if kept else "none"
