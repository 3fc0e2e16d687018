"""Whether an answer is that of a reference.

The two are not alike: a reference may carry a condition that the answer leaves out, and an answer may be the
last step of a calculation, which has to be true.
"""

from __future__ import annotations

from hpt_core.verifier.math.comparing.equality import Equality
from hpt_core.verifier.math.comparing.evaluation import is_constant, is_rounded
from hpt_core.verifier.math.comparing.forms import as_named, is_linear, is_value, measure
from hpt_core.verifier.math.comparing.points import free_symbols
from hpt_core.verifier.math.tree import Conditional, Node, Number, Relation


class Answers(Equality):
    """Compares whole answers with references."""

    def equal(self, answer: Node, gold: Node) -> bool:
        """Whether `answer` is the answer `gold`."""
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
        """Whether one step of a calculation is true; one that names or inserts values cannot be false."""
        if not all(is_value(side) and is_constant(side) for side in (left, right)):
            return True
        rounded = measure(right)[0]
        if operator == r"\approx" and isinstance(rounded, Number):
            return is_rounded(measure(left)[0], rounded, self.evaluate)
        return operator != "=" or self.same(left, right)


def _states_a_sum(relation: Relation) -> bool:
    """m + n = 20 + 14 = 34"""
    calculated = set(relation.operators) == {"="}
    return calculated and is_linear(relation.members[0]) and is_constant(relation.members[-1])
