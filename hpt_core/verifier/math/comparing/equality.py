"""Equality of two mathematical answers that were read whole.

Each rule compares two forms of an answer part by part; values are left to `evaluation`. What no rule makes
equal is different.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hpt_core.verifier.math.comparing.evaluation import is_constant, is_rounded, same_value
from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.forms import (
    as_named,
    expanded,
    is_free_name,
    is_linear,
    measure,
)
from hpt_core.verifier.math.comparing.indices import rename
from hpt_core.verifier.math.comparing.real_sets import same_real_set
from hpt_core.verifier.math.comparing.values import free_symbols
from hpt_core.verifier.math.tree import (
    MISSING,
    Apply,
    Based,
    Bracketed,
    Conditional,
    Items,
    Matrix,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Words,
)
from hpt_core.verifier.math.units import DEGREE, PERCENT, RADIAN, Unit, is_generic

_SYMMETRIC = frozenset((r"\ne", r"\equiv", r"\parallel", r"\perp", r"\sim", r"\cong", r"\iff", r"\nparallel"))
_FLIPPED = {">": "<", r"\ge": r"\le", r"\supset": r"\subset", r"\supseteq": r"\subseteq"}
_RADIANS_OF_A_DEGREE = Apply("/", (Symbol(r"\pi"), Number(Fraction(180))))


class Comparison:
    """Compares trees; `evaluate` says whether values may be computed that take long."""

    def __init__(self, evaluate: bool) -> None:
        self.evaluate = evaluate

    def answers(self, answer: Node, gold: Node) -> bool:
        """Whether `answer` is the answer `gold`.

        The two are not alike: a reference may carry a condition that the answer leaves out, and an answer may
        be the last step of a calculation.
        """
        if answer == gold:
            return True
        if isinstance(answer, Relation) and not self._holds(answer):
            return False
        if isinstance(gold, Conditional) and not isinstance(answer, Conditional):
            return self.same(answer, gold.value)
        if isinstance(answer, Conditional) and not isinstance(gold, Conditional):
            named = as_named(answer.value)
            value = answer.value if named is None else named[1]
            about_it = free_symbols(answer.condition) & free_symbols(value)
            return bool(about_it) and self.same(answer.value, gold)
        if isinstance(answer, Relation) and not isinstance(gold, Relation) and _states_a_sum(answer):
            return self.same(answer.members[-1], gold)
        match answer, gold:
            case Relation((r"\approx",), (value, Number() as rounded)), _ if is_constant(value):
                return self.same(value, gold) and is_rounded(value, rounded, self.evaluate)
            case _, Relation((r"\approx",), (value, Number() as rounded)) if is_constant(value):
                return self.same(answer, value) or self.same(answer, rounded)
            case _, Relation(("=",), (first, value)) if is_constant(first) and is_constant(value):
                return self.same(answer, value)
        return self.same(answer, gold)

    def _holds(self, calculation: Relation) -> bool:
        """Whether 20 + 14 = 34 is true; 12 = 13 is no answer."""
        if not set(calculation.operators) <= {"=", r"\approx"}:
            return True
        steps = zip(calculation.operators, calculation.members, calculation.members[1:], strict=False)
        return all(self._follows(*step) for step in steps)

    def _follows(self, operator: str, left: Node, right: Node) -> bool:
        """Whether one step of a calculation with numbers is true."""
        if not all(_is_value(side) and is_constant(side) for side in (left, right)):
            return True
        rounded = measure(right)[0]
        if operator == r"\approx" and isinstance(rounded, Number):
            return is_rounded(measure(left)[0], rounded, self.evaluate)
        return operator != "=" or self.same(left, right)

    def same(self, a: Node, b: Node) -> bool:
        """Whether two answers, or parts of answers, are equal."""
        a, b = expanded(a), expanded(b)
        if a == b:
            return True
        if isinstance(a, Conditional) or isinstance(b, Conditional):
            return isinstance(a, Conditional) and isinstance(b, Conditional) and self._conditionals(a, b)
        named = self._named(a, b)
        if named is not None:
            return named
        if isinstance(a, Relation) or isinstance(b, Relation) or _is_set(a) or _is_set(b):
            same_set = same_real_set(a, b, self.evaluate)
            if same_set is not None:
                return same_set
        match a, b:
            case Relation(), Relation():
                return self._relations(a, b)
            case (Relation((r"\equiv",), (name, value)), Apply("mod") as other) | (
                Apply("mod") as other,
                Relation((r"\equiv",), (name, value)),
            ):
                return is_free_name(name) and self.same(value, other)
            case (Relation(), _) | (_, Relation()):
                return False
            case Items(), Items():
                return self._in_any_order(a.members, b.members)
            case (Items((one,)), other) | (other, Items((one,))) if not _is_collection(one):
                return self.same(one, other)
            case Bracketed(), Bracketed():
                return (a.opening, a.closing) == (b.opening, b.closing) and self._in_order(
                    a.members, b.members
                )
            case (Matrix(rows), Bracketed("(", ")", members)) | (Bracketed("(", ")", members), Matrix(rows)):
                return all(len(row) == 1 for row in rows) and self._in_order(
                    [row[0] for row in rows], members
                )
            case Matrix(), Matrix():
                return [len(r) for r in a.rows] == [len(r) for r in b.rows] and self._in_order(
                    [e for row in a.rows for e in row], [e for row in b.rows for e in row]
                )
            case (Items() | Bracketed() | Matrix(), _) | (_, Items() | Bracketed() | Matrix()):
                return False
        return self._measures(a, b)

    def _conditionals(self, a: Conditional, b: Conditional) -> bool:
        """Equal values under equal conditions; the letter that runs over a set of numbers may be another."""
        if self.same(a.value, b.value) and self.same(a.condition, b.condition):
            return True
        old, new = _index_of(a.condition), _index_of(b.condition)
        if old is None or new is None or old == new:
            return False
        return self.same(rename(a.value, old, new), b.value) and self.same(
            rename(a.condition, old, new), b.condition
        )

    def _named(self, a: Node, b: Node) -> bool | None:
        """x = 5 and 5, x = 5 and 5 = x, f(x) = x^2 and x^2; None if neither names its value."""
        x, y = as_named(a), as_named(b)
        if x is None and y is None:
            return None
        if x is not None and y is not None:
            if x[0] == y[0] or _name_a_graph(x[0], y[0]):
                return self.same(x[1], y[1])
            match x[0], y[0]:
                case Apply("apply", (f, Symbol() as p)), Apply("apply", (g, Symbol() as q)) if f == g:
                    stated = p.name in free_symbols(x[1]) and q.name not in free_symbols(x[1])
                    return stated and self.same(rename(x[1], p, q), y[1])
            return self._equations(a, b) if isinstance(a, Relation) and isinstance(b, Relation) else False
        if x is None:
            a, b, x, y = b, a, y, x
        assert x is not None
        if isinstance(b, Relation):
            if isinstance(a, Relation) and a.operators == ("=",) and b.operators == ("=",):
                return self._equations(a, b)
            return False if a.operators == ("=",) and b.operators[0] == "=" else None  # type: ignore[union-attr]
        if isinstance(b, Bracketed) and isinstance(a, Items):
            return self._in_order(x[1].members, b.members) if isinstance(x[1], Bracketed) else False
        return self.same(x[1], b)

    def _relations(self, a: Relation, b: Relation) -> bool:
        a, b = _forward(a), _forward(b)
        if a.operators != b.operators:
            return False
        if a.operators == ("=",):
            return self._equations(a, b)
        if self._in_order(a.members, b.members):
            return True
        return (
            a.operators[0] in _SYMMETRIC
            and len(a.operators) == 1
            and self._in_order(a.members[::-1], b.members)
        )

    def _equations(self, a: Relation, b: Relation) -> bool:
        """L = R and L' = R' where L - R is a constant multiple of L' - R'."""
        if len(a.members) != 2 or len(b.members) != 2:
            return len(a.members) == len(b.members) and self._in_order(a.members, b.members)
        if MISSING in (*a.members, *b.members) or not all(_is_value(m) for m in (*a.members, *b.members)):
            return self._in_order(a.members, b.members)
        if self._in_order(a.members, b.members) or self._in_order(a.members[::-1], b.members):
            return True
        x, y = (Apply("+", (m[0], Apply("neg", (m[1],)))) for m in (a.members, b.members))
        symbols = free_symbols(x)
        if symbols != free_symbols(y) or not symbols:
            return False
        # The ratio is constant if it does not change when every variable does.
        moved = {name: Apply("+", (Symbol(name), Number(Fraction(7, 5)))) for name in symbols}
        ratio = Apply("/", (x, y))
        shifted: Node = ratio
        for name, other in moved.items():
            shifted = rename(shifted, Symbol(name), other)
        return same_value(ratio, shifted, self.evaluate)

    def _measures(self, a: Node, b: Node) -> bool:
        """Values with units: one side may leave them out; two that are not convertible differ."""
        (x, unit), (y, other) = measure(a), measure(b)
        if unit is None and other is None:
            return self._values(x, y)
        if unit is None or other is None:
            return self.same(x, y) or self._without_unit(x, y, unit, other)
        if is_generic(unit) or is_generic(other):
            return self.same(x, y)
        if unit == other:
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
        factor: Node = Number(Fraction(1, 100))
        if only == DEGREE:
            factor = _RADIANS_OF_A_DEGREE
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
                return same_operation and self._in_order(a.operands, b.operands)  # type: ignore[union-attr]
        return same_value(a, b, self.evaluate)

    def _ratios(self, x: Sequence[Node], y: Sequence[Node]) -> bool:
        if len(x) != len(y):
            return False
        if self._in_order(x, y):
            return True
        if _is_time(x) or _is_time(y):
            return False
        return all(
            same_value(Apply("*", (x[0], q)), Apply("*", (y[0], p)), self.evaluate)
            for p, q in zip(x[1:], y[1:], strict=True)
        )

    def _in_order(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        return len(a) == len(b) and all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def _in_any_order(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        if Symbol(r"\ldots") in (*a, *b):
            return self._in_order(a, b)
        if len(a) != len(b):
            return False
        rest = list(b)
        for member in a:
            found = next((i for i, other in enumerate(rest) if self.same(member, other)), None)
            if found is None:
                return False
            del rest[found]
        return True


def _is_set(node: Node) -> bool:
    match node:
        case Apply(r"\cup" | r"\setminus" | r"\backslash" | "set-builder" | r"\cap", _):
            return True
        case Symbol(name):
            return name == r"\mathbb{R}"
    return False


def _name_a_graph(x: Node, y: Node) -> bool:
    """y = x^2 and f(x) = x^2 are one curve."""
    match x, y:
        case (Symbol("y"), Apply("apply", (Symbol(), Symbol("x")))) | (
            Apply("apply", (Symbol(), Symbol("x"))),
            Symbol("y"),
        ):
            return True
    return False


def _states_a_sum(relation: Relation) -> bool:
    """m + n = 20 + 14 = 34"""
    calculated = set(relation.operators) == {"="}
    return calculated and is_linear(relation.members[0]) and is_constant(relation.members[-1])


def _is_collection(node: Node) -> bool:
    return isinstance(node, Items) or node == Symbol(r"\emptyset")


def _index_of(condition: Node) -> Symbol | None:
    """The letter k of the condition k \\in \\mathbb{Z}."""
    match condition:
        case Relation((r"\in",), (Symbol() as index, Symbol())):
            return index
    return None


def _is_value(node: Node) -> bool:
    return isinstance(node, Number | Symbol | Apply | Quantity)


def _is_time(parts: Sequence[Node]) -> bool:
    """Whether a:b can be a time of day: 12:30, and not 2:3."""
    whole = [p.value for p in parts if isinstance(p, Number) and not p.digits]
    return len(whole) == len(parts) and all(10 <= v < 60 or v == 0 for v in whole[1:]) and whole[0] < 25


def _forward(relation: Relation) -> Relation:
    """The chain with every order relation pointing to the right: c > b > a as a < b < c."""
    if all(o in _FLIPPED for o in relation.operators):
        return Relation(tuple(_FLIPPED[o] for o in reversed(relation.operators)), relation.members[::-1])
    return relation


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
