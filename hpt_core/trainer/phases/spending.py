"""What a run has spent, and how much of a budget that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from hpt_core.config import BudgetConfig


@dataclass(frozen=True)
class Spent:
    """Amounts since the start of a run, or of a phase."""

    steps: float = 0.0
    generated: float = 0.0
    """Sampled tokens."""
    trained: float = 0.0
    """Response tokens of the rows with a gradient, in updates that the optimizer took."""
    flops: float = 0.0
    """Floating-point operations of sampling and of updates (`measures.throughput`)."""

    @classmethod
    def at(cls, row: Mapping[str, float]) -> Spent:
        """The amounts in the metrics of a step."""
        return cls(*(row[name] for name in NAMES))

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def metrics(self) -> dict[str, float]:
        """The amounts by name; the number of steps is a key of every row already."""
        return dict(zip(NAMES[1:], astuple(self)[1:], strict=True))

    def share(self, budget: BudgetConfig) -> float:
        """The largest share of a limit that is spent: 0 without limits, 1 or more at their end."""
        limits = (
            (self.generated, budget.generated_tokens),
            (self.trained, budget.trained_tokens),
            (self.flops, budget.flops),
        )
        return max((spent / limit for spent, limit in limits if limit is not None), default=0.0)


NOTHING = Spent()
NAMES = ("step", "tokens/generated", "tokens/trained", "flops")
"""The names of the amounts in the metrics of a step."""
