"""Sets of real numbers, however they are written: intervals, inequalities in one variable, set-builders."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hpt_core.verifier.math.comparing.evaluation import (
    EvaluationNeededError,
    is_constant,
    number_value,
    same_value,
)
from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.intervals import (
    INFINITY,
    End,
    Interval,
    RealSet,
    complement,
    infinities,
    intersection,
    merged,
)
from hpt_core.verifier.math.tree import (
    MISSING,
    Apply,
    Bracketed,
    Conditional,
    Items,
    Node,
    Relation,
    Symbol,
)

REALS = r"\mathbb{R}"
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "=": "=", r"\ne": r"\ne"}


class NoRealSetError(Exception):
    """The tree is no set of real numbers with constant ends."""


def same_real_set(a: Node, b: Node, evaluate: bool) -> bool | None:
    """Whether both are the same set of real numbers; None if one of them is none."""
    try:
        builder = _Builder(evaluate)
        x, y = merged(builder.build(a)), merged(builder.build(b))
    except NoRealSetError:
        return None
    if not builder.one_variable():
        return False
    return len(x) == len(y) and all(
        (i.has_low, i.has_high) == (j.has_low, j.has_high)
        and same_value(i.low.node, j.low.node, evaluate)
        and same_value(i.high.node, j.high.node, evaluate)
        for i, j in zip(x, y, strict=True)
    )


class _Builder:
    """Builds sets from trees, and keeps the names of their variables."""

    def __init__(self, evaluate: bool) -> None:
        self.evaluate = evaluate
        self.variables: set[Node] = set()

    def one_variable(self) -> bool:
        return len(self.variables - {MISSING}) <= 1

    def build(self, node: Node) -> RealSet:
        match node:
            case Relation((r"\in",), (variable, inner)):
                self.variables.add(variable)
                return self.build(inner)
            case Relation((r"\notin",), (variable, inner)):
                self.variables.add(variable)
                return complement(merged(self.build(inner)))
            case Relation(operators, members):
                return self._chain(operators, members)
            case Bracketed(opening, closing, (low, high)):
                return [Interval(self._end(low), opening == "[", self._end(high), closing == "]")]
            case Symbol(name) if name == REALS:
                return self._everything()
            case Apply(r"\cup", (a, b)):
                return self.build(a) + self.build(b)
            case Apply(r"\cap", (a, b)):
                return intersection(self.build(a), self.build(b))
            case Apply(r"\setminus" | r"\backslash" | "-", (a, b)):
                return intersection(self.build(a), complement(merged(self.build(b))))
            case Apply("set-builder", (element, condition)):
                return self._builder(element, condition)
            case Conditional(value, Relation((r"\in",), (_, Symbol(name)))) if name == REALS:
                return self.build(value)
            case Items(members, "{}"):
                ends = [self._end(m) for m in members]
                return [Interval(end, True, end, True) for end in ends]
            case Items(members, joined_by) if all(
                isinstance(m, Relation | Bracketed | Apply) for m in members
            ):
                sets = [self.build(m) for m in members]
                together = sets[0]
                for other in sets[1:]:
                    together = intersection(together, other)
                if joined_by == "or" or not together:
                    return [interval for each in sets for interval in each]
                return together
        raise NoRealSetError

    def _builder(self, element: Node, condition: Node) -> RealSet:
        """{x : x > 2} and {x \\in R : x > 2}; the name of its variable does not matter."""
        if (
            isinstance(element, Relation)
            and element.operators == (r"\in",)
            and element.members[1] == Symbol(REALS)
        ):
            element = element.members[0]
        if not isinstance(element, Symbol):
            raise NoRealSetError
        inner = _Builder(self.evaluate)
        built = inner.build(condition)
        if inner.variables - {MISSING} != {element}:
            raise NoRealSetError
        return built

    def _chain(self, operators: tuple[str, ...], members: tuple[Node, ...]) -> RealSet:
        """a < x <= b, x > a, a > x, x != a."""
        variables = [i for i, m in enumerate(members) if m == MISSING or not is_constant(m)]
        if len(variables) != 1 or any(o not in _FLIPPED for o in operators):
            raise NoRealSetError
        at = variables[0]
        variable = members[at]
        if isinstance(variable, Apply) and variable.operation == "abs" and len(operators) == 1:
            relation = operators[0] if at == 0 else _FLIPPED[operators[0]]
            return self._distance(variable.operands[0], relation, members[1 - at])
        if not isinstance(variable, Symbol | Apply) or (
            isinstance(variable, Apply) and variable.operation not in "_"
        ):
            raise NoRealSetError
        self.variables.add(variable)
        found = self._everything()
        for i, operator in enumerate(operators):
            if i not in (at - 1, at):
                raise NoRealSetError
            bound, relation = (members[i + 1], operator) if i == at else (members[i], _FLIPPED[operator])
            found = intersection(found, self._compared(relation, self._end(bound)))
        return found

    def _distance(self, variable: Node, relation: str, bound: Node) -> RealSet:
        """|x| < 3 as -3 < x < 3, and |x| > 3 as x < -3 or x > 3."""
        if not isinstance(variable, Symbol):
            raise NoRealSetError
        self.variables.add(variable)
        right = self._compared(relation, self._end(bound))
        left = self._compared(_FLIPPED[relation], self._end(Apply("neg", (bound,))))
        return intersection(right, left) if relation in ("<", r"\le", r"\ne") else right + left

    def _compared(self, relation: str, end: End) -> RealSet:
        low, high = infinities()
        match relation:
            case "<" | r"\le":
                return [Interval(low, False, end, relation == r"\le")]
            case ">" | r"\ge":
                return [Interval(end, relation == r"\ge", high, False)]
            case "=":
                return [Interval(end, True, end, True)]
        return [Interval(low, False, end, False), Interval(end, False, high, False)]

    def _everything(self) -> RealSet:
        low, high = infinities()
        return [Interval(low, False, high, False)]

    def _end(self, node: Node) -> End:
        low, high = infinities()
        if node == INFINITY:
            return high
        if node == Apply("neg", (INFINITY,)):
            return low
        if not is_constant(node):
            raise NoRealSetError
        value = exact(node)
        if not self.evaluate:
            if value is None:
                raise EvaluationNeededError
            return End(value, node)
        number = number_value(node) if value is None else _as_float(value)
        if number is None:
            raise NoRealSetError
        return End(number, node)


def _as_float(value: Fraction) -> Any:
    import mpmath

    with mpmath.workdps(60):
        return mpmath.mpf(value.numerator) / value.denominator
