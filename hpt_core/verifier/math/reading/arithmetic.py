"""The grammar of sums, products and operations on sets."""

from __future__ import annotations

from fractions import Fraction

from hpt_core.verifier.math.reading.operands import refuse_other_than_values
from hpt_core.verifier.math.reading.quantities import Quantities
from hpt_core.verifier.math.reading.tokens import UnreadError
from hpt_core.verifier.math.tree import (
    Apply,
    Conditional,
    Matrix,
    Node,
    Number,
    Quantity,
    Symbol,
    Words,
    walk,
)
from hpt_core.verifier.math.units import DEGREE, PERCENT

_TIMES = frozenset(("*", r"\times", r"\cdot"))
_DIVIDED = frozenset(("/", r"\div"))
_SET_OPERATIONS = frozenset(
    (
        r"\cup",
        r"\cap",
        r"\setminus",
        r"\backslash",
        r"\land",
        r"\lor",
        r"\oplus",
        r"\otimes",
        r"\circ",
        "\\union",
    )
)


_NO_FACTORS = frozenset((r"\ldots", r"\star", r"\dagger", r"\complement", r"\checkmark", r"\square"))


class Arithmetic(Quantities):
    """Reads expressions of operands."""

    def expression(self) -> Node:
        """A sum, a ratio of sums, or sets joined by operations."""
        node = self._ratio()
        while self.token.kind == "command" and self.token.text in _SET_OPERATIONS:
            operation = self.take().text
            node = Apply(operation, (node, self._ratio()))
        return node

    def _ratio(self) -> Node:
        start = self.at
        parts = [self._residue()]
        while self.token.kind == "symbol" and self.token.text == ":" and self.ahead(1).text != "=":
            self.take()
            parts.append(self._residue())
        if len(parts) == 1:
            return parts[0]
        # 10:05 is a time of day and no ratio, by the zero that a ratio would not have.
        padded = any(len(t.text) == 2 and t.text[0] == "0" for t in self.tokens[start + 1 : self.at])
        refuse_other_than_values(*parts)
        operation = "clock" if padded else ":"
        match parts[-1]:
            case Quantity(value, unit):
                return Quantity(Apply(operation, (*parts[:-1], value)), unit)
        return Apply(operation, tuple(parts))

    def _residue(self) -> Node:
        if self.skip(r"\neg"):
            return Apply(r"\neg", (self._residue(),))
        node = self.sum()
        if self.token.text in (r"\mod", r"\pmod"):
            self.take()
            node = Apply("mod", (node, self.sum()))
        return node

    def sum(self) -> Node:
        """Products joined by plus, minus and plus-minus."""
        with self.nested():
            node = self._signed()
            terms = [node]
            while self.token.kind in ("symbol", "command") and self.token.text in ("+", "-", r"\pm", r"\mp"):
                sign = self.take().text
                term = self.product()
                if sign in (r"\pm", r"\mp"):
                    left = terms[0] if len(terms) == 1 else Apply("+", tuple(terms))
                    terms = [Apply(sign[1:], (left, term))]
                else:
                    terms.append(term if sign == "+" else Apply("neg", (term,)))
            return terms[0] if len(terms) == 1 else _sum(terms)

    def _signed(self) -> Node:
        if self.token.kind in ("symbol", "command"):
            if self.skip("+"):
                return self._signed()
            if self.skip("-"):
                return _negative(self._signed())
            if self.token.text in (r"\pm", r"\mp"):
                sign = self.take().text[1:]
                return Apply(sign, (Number(Fraction(0)), self.product()))
        minus = self.token.kind == "word" and self.token.text.casefold() in ("negative", "minus")
        if minus and self.ahead(1).kind in ("number", "command"):
            self.take()
            return _negative(self._signed())
        return self.product()

    def product(self) -> Node:
        """Operands that are multiplied or divided, and what is attached to the product."""
        node = self.money() or self._mixed(self.degrees(self.operand()))
        while True:
            token = self.token
            if token.kind in ("symbol", "command") and token.text in _TIMES | _DIVIDED:
                self.take()
                node = _multiplied(node, token.text, self._factor())
                continue
            attached = None if isinstance(node, Words) else self.attached(node)
            if attached is not None:
                node = attached
                continue
            if not self.starts_operand() or (token.text == r"\{"):
                return node
            is_number = self.token.kind in ("number", "repeating", "based")
            if isinstance(node, Words | Quantity) or (is_number and self.tokens[self.at - 1].text != "!"):
                raise UnreadError(f"{self.token.text!r} beside a value")
            factor = self.degrees(self.operand())
            if isinstance(factor, Symbol) and factor.name in _NO_FACTORS:
                raise UnreadError(f"{factor.name} behind a value")
            node = _multiplied(node, "", factor)

    def _factor(self) -> Node:
        if self.token.kind == "symbol" and self.token.text in "+-":
            sign = self.take().text
            return _negative(self._factor()) if sign == "-" else self._factor()
        return self.money() or self._mixed(self.degrees(self.operand()))

    def _mixed(self, whole: Node) -> Node:
        """A mixed number: 1\\frac{4}{5} and 2 1/2."""
        if not isinstance(whole, Number) or whole.value.denominator != 1 or whole.digits:
            return whole
        start = self.at
        if self.token.text == r"\frac":
            fraction = whole if self.is_fraction_of_units() else self.operand()
        elif self.token.kind == "number" and self.token.spaced and self.ahead(1).text == "/":
            above = self.operand()
            self.take()
            fraction = Apply("/", (above, self.operand() if self.token.kind == "number" else whole))
        else:
            return whole
        match fraction:
            case Apply("/", (Number(a, 0), Number(b, 0))) if (
                0 < a < b and a.denominator == b.denominator == 1
            ):
                return Number(whole.value + a / b)
        self.at = start
        return whole


def _multiplied(left: Node, sign: str, right: Node) -> Node:
    """A product or quotient; those of vectors and of matrices depend on the sign and on the order."""
    if sign not in _DIVIDED and _is_matrix(left) and _is_matrix(right):
        return Apply("matrix product", (left, right))
    if sign in (r"\times", r"\cdot") and _is_vector(left) and _is_vector(right):
        return Apply("cross" if sign == r"\times" else "dot", (left, right))
    return Apply("/" if sign in _DIVIDED else "*", (left, right))


def _is_matrix(node: Node) -> bool:
    return any(isinstance(part, Matrix) for part in walk(node))


def _is_vector(node: Node) -> bool:
    arrows = (r"\vec", r"\mathbf", r"\overrightarrow")
    return any(isinstance(part, Symbol) and part.name.startswith(arrows) for part in walk(node))


def _sum(terms: list[Node]) -> Node:
    """The sum; a unit, label or condition after its last term is that of the sum."""
    *others, last = terms
    if isinstance(last, Conditional):
        return Conditional(_sum([*others, last.value]), last.condition)
    if isinstance(last, Apply) and last.operation == "neg" and isinstance(last.operands[0], Conditional):
        inner = last.operands[0]
        return Conditional(_sum([*others, Apply("neg", (inner.value,))]), inner.condition)
    measured = last.operands[0] if isinstance(last, Apply) and last.operation == "neg" else last
    if (
        isinstance(measured, Quantity)
        and measured.unit not in (DEGREE, PERCENT)
        and not any(isinstance(part, Quantity) for other in others for part in walk(other))
    ):
        value = measured.value if measured is last else Apply("neg", (measured.value,))
        return Quantity(Apply("+", (*others, value)), measured.unit)
    return Apply("+", tuple(terms))


def _negative(node: Node) -> Node:
    if isinstance(node, Quantity):
        return Quantity(_negative(node.value), node.unit)
    return Number(-node.value, node.digits) if isinstance(node, Number) else Apply("neg", (node,))
