"""Equality of values with units, ratios, times, residues and remainders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction

from hpt_core.verifier.math.comparing.evaluation import same_value
from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.forms import measure
from hpt_core.verifier.math.tree import Apply, Based, Node, Number, Symbol, Words
from hpt_core.verifier.math.units import DEGREE, PERCENT, RADIAN, Unit, is_generic

_RADIANS_OF_A_DEGREE = Apply("/", (Symbol(r"\pi"), Number(Fraction(180))))


class Measures(ABC):
    """Compares values; `evaluate` says whether those may be computed that take long."""

    def __init__(self, evaluate: bool) -> None:
        self.evaluate = evaluate

    @abstractmethod
    def same(self, a: Node, b: Node) -> bool:
        """Whether two answers, or parts of answers, are equal."""

    def in_order(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        """Whether the parts of two answers are equal one by one."""
        return len(a) == len(b) and all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def measures(self, a: Node, b: Node) -> bool:
        """Values with units: one side may leave them out; two that are not convertible differ."""
        (x, unit), (y, other) = measure(a), measure(b)
        if unit is None and other is None:
            return self._values(x, y)
        if unit is None or other is None:
            return self.same(x, y) or self._without_unit(x, y, unit, other)
        if unit == other or is_generic(unit) or is_generic(other):
            return self.same(x, y)
        if unit.dimensions != other.dimensions:
            return {unit, other} == {DEGREE, RADIAN} and self._values(
                _in_radians(x, unit), _in_radians(y, other)
            )
        return self._values(_scaled(x, unit), _scaled(y, other))

    def _without_unit(self, x: Node, y: Node, unit: Unit | None, other: Unit | None) -> bool:
        """28% and 0.28, 180 degrees and \\pi."""
        only = unit or other
        if only not in (PERCENT, DEGREE):
            return False
        factor = _RADIANS_OF_A_DEGREE if only == DEGREE else Number(Fraction(1, 100))
        if unit is not None:
            return self._values(Apply("*", (x, factor)), y)
        return self._values(x, Apply("*", (y, factor)))

    def _values(self, a: Node, b: Node) -> bool:
        match a, b:
            case (Words(), Words()) | (Based(), Based()):
                return a == b
            case (Words() | Based(), Number() | Based() | Words()) | (Number(), Words() | Based()):
                return False
            case Apply(":", x), Apply(":", y):
                return self._ratios(x, y)
            case (Apply(":", parts), _) | (_, Apply(":", parts)) if _is_time(parts) or len(parts) > 2:
                return False
            case Apply("mod", (x, m)), Apply("mod", (y, n)):
                return self.same(m, n) and (self.same(x, y) or _congruent(x, y, m))
            case (Apply("mod" | "remainder" as operation, _), other) | (
                other,
                Apply("mod" | "remainder" as operation, _),
            ):
                same_operation = isinstance(other, Apply) and other.operation == operation
                return same_operation and self.in_order(a.operands, b.operands)  # type: ignore[union-attr]
        return same_value(a, b, self.evaluate)

    def _ratios(self, x: Sequence[Node], y: Sequence[Node]) -> bool:
        if len(x) != len(y):
            return False
        if self.in_order(x, y):
            return True
        if _is_time(x) or _is_time(y):
            return False
        return all(
            same_value(Apply("*", (x[0], q)), Apply("*", (y[0], p)), self.evaluate)
            for p, q in zip(x[1:], y[1:], strict=True)
        )


def _is_time(parts: Sequence[Node]) -> bool:
    """Whether a:b can be a time of day: 12:30, and not 2:3."""
    whole = [p.value for p in parts if isinstance(p, Number) and not p.digits]
    return len(whole) == len(parts) and all(10 <= v < 60 or v == 0 for v in whole[1:]) and whole[0] < 25


def _congruent(x: Node, y: Node, modulus: Node) -> bool:
    values = [exact(x), exact(y), exact(modulus)]
    if any(v is None or v.denominator != 1 for v in values):
        return False
    a, b, m = values
    assert a is not None and b is not None and m is not None
    return m != 0 and (a - b) % m == 0


def _in_radians(value: Node, unit: Unit) -> Node:
    return Apply("*", (value, _RADIANS_OF_A_DEGREE)) if unit == DEGREE else value


def _scaled(value: Node, unit: Unit) -> Node:
    return Apply("*", (value, Number(unit.factor)))
