"""Equality of two parts of mathematical answers that were read whole.

Each rule compares two forms part by part; values are left to `measures`. What no rule makes equal is
different.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hpt_core.verifier.math.comparing.evaluation import same_value
from hpt_core.verifier.math.comparing.forms import as_named, expanded, is_free_name, is_value
from hpt_core.verifier.math.comparing.indices import rename
from hpt_core.verifier.math.comparing.measures import Measures
from hpt_core.verifier.math.comparing.points import free_symbols
from hpt_core.verifier.math.comparing.real_sets import same_real_set
from hpt_core.verifier.math.tree import (
    MISSING,
    Apply,
    Bracketed,
    Conditional,
    Items,
    Matrix,
    Node,
    Number,
    Relation,
    Symbol,
)

_SYMMETRIC = frozenset((r"\ne", r"\equiv", r"\parallel", r"\perp", r"\sim", r"\cong", r"\iff", r"\nparallel"))
_FLIPPED = {">": "<", r"\ge": r"\le", r"\supset": r"\subset", r"\supseteq": r"\subseteq"}


class Equality(Measures):
    """Compares trees; the two sides are alike."""

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
                return (a.opening, a.closing) == (b.opening, b.closing) and self.in_order(
                    a.members, b.members
                )
            case (Matrix(rows), Bracketed("(", ")", members)) | (Bracketed("(", ")", members), Matrix(rows)):
                return all(len(row) == 1 for row in rows) and self.in_order([row[0] for row in rows], members)
            case Matrix(), Matrix():
                return [len(r) for r in a.rows] == [len(r) for r in b.rows] and self.in_order(
                    [e for row in a.rows for e in row], [e for row in b.rows for e in row]
                )
            case (Items() | Bracketed() | Matrix(), _) | (_, Items() | Bracketed() | Matrix()):
                return False
        return self.measures(a, b)

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
            if not isinstance(a, Relation) or b.operators[0] != "=":
                return None
            return a.operators == b.operators == ("=",) and self._equations(a, b)
        if isinstance(b, Bracketed) and isinstance(a, Items):
            return self.in_order(x[1].members, b.members) if isinstance(x[1], Bracketed) else False
        return self.same(x[1], b)

    def _relations(self, a: Relation, b: Relation) -> bool:
        a, b = _forward(a), _forward(b)
        if a.operators != b.operators:
            return False
        if a.operators == ("=",):
            return self._equations(a, b)
        if self.in_order(a.members, b.members):
            return True
        return (
            a.operators[0] in _SYMMETRIC
            and len(a.operators) == 1
            and self.in_order(a.members[::-1], b.members)
        )

    def _equations(self, a: Relation, b: Relation) -> bool:
        """L = R and L' = R' where L - R is a constant multiple of L' - R'."""
        if len(a.members) != 2 or len(b.members) != 2:
            return len(a.members) == len(b.members) and self.in_order(a.members, b.members)
        if MISSING in (*a.members, *b.members) or not all(is_value(m) for m in (*a.members, *b.members)):
            return self.in_order(a.members, b.members)
        if self.in_order(a.members, b.members) or self.in_order(a.members[::-1], b.members):
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

    def _in_any_order(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        if Symbol(r"\ldots") in (*a, *b):
            return self.in_order(a, b)
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


def _is_collection(node: Node) -> bool:
    return isinstance(node, Items) or node == Symbol(r"\emptyset")


def _index_of(condition: Node) -> Symbol | None:
    """The letter k of the condition k \\in \\mathbb{Z}."""
    match condition:
        case Relation((r"\in",), (Symbol() as index, Symbol())):
            return index
    return None


def _forward(relation: Relation) -> Relation:
    """The chain with every order relation pointing to the right: c > b > a as a < b < c."""
    if all(o in _FLIPPED for o in relation.operators):
        return Relation(tuple(_FLIPPED[o] for o in reversed(relation.operators)), relation.members[::-1])
    return relation
