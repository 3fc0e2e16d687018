"""The grammar of what follows a value: units, money, percent, degrees, remainders, moduli and notes."""

from __future__ import annotations

from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.operands import refuse_other_than_values
from hpt_core.verifier.math.reading.tokens import UnreadError
from hpt_core.verifier.math.reading.unit_expressions import UnitExpressions
from hpt_core.verifier.math.tree import (
    Apply,
    Conditional,
    Items,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Words,
)
from hpt_core.verifier.math.units import CURRENCY_SIGNS, DEGREE, PERCENT, UNITS, label


class Quantities(UnitExpressions):
    """Reads units and other attachments of a value."""

    def money(self) -> Node | None:
        """A value with the sign of a currency before it."""
        token = self.token
        if token.text not in CURRENCY_SIGNS and token.text not in ("$", "USD", "US", "EUR", "GBP", "Rs"):
            return None
        if token.text == "US" and self.ahead(1).text not in CURRENCY_SIGNS:
            return None
        full_stop = token.text == "Rs" and self.ahead(1).text == "."
        if token.kind == "word" and self.ahead(1 + full_stop).kind != "number":
            return None
        self.at += 1 + full_stop
        if token.text == "US":
            token = self.take()
        sign = self.skip("-")
        value = self.operand()
        refuse_other_than_values(value)
        value = Apply("neg", (value,)) if sign else value
        return Quantity(self.multiplied(value), UNITS[r"\$" if token.text == "$" else token.text])

    def degrees(self, node: Node) -> Node:
        """`node` in degrees if a degree sign follows."""
        if self.token.text == "^" and self._degree_sign():
            refuse_other_than_values(node)
            self.at += 4 if self.ahead(1).text == "{" else 2
            scale = {"C": "celsius", "F": "fahrenheit"}.get(self.token.text)
            if scale:
                self.take()
                return Quantity(node, UNITS[scale])
            if self.token.kind == "number" and self.ahead(1).text == "'":
                sixtieths = Apply("/", (self.operand_without_primes(), Number(Fraction(60))))
                return Quantity(Apply("+", (node, sixtieths)), DEGREE)
            return Quantity(node, DEGREE)
        return node

    def attached(self, node: Node) -> Node | None:
        """`node` with the unit, label or note that follows; None if none follows."""
        token = self.token
        if token.text == r"\%":
            self.take()
            return Quantity(node, PERCENT)
        if token.text in CURRENCY_SIGNS or token.text == "$":
            self.take()
            return Quantity(node, UNITS[r"\$" if token.text == "$" else token.text])
        if token.text == "(" and token.kind == "symbol":
            return self._note(node)
        remainder = token.text.casefold() in ("r", "remainder") and token.upright
        if remainder and not isinstance(node, Words) and self.ahead(1).kind == "number":
            self.take()
            return Apply("remainder", (node, self.operand()))
        if token.upright and (token.kind in ("word", "letter") or token.text == r"\mod"):
            return self._measured(node)
        is_unit = token.text in UNITS and (token.upright or token.spaced)
        if token.kind == "command" and (is_unit or (token.text == r"\mu" and self.ahead(1).upright)):
            return self._measured(node)
        if self.is_fraction_of_units():
            return self.fraction_of_units(node)
        return None

    def _measured(self, node: Node) -> Node | None:
        start = self.at
        multiplied = self.multiplied(node)
        unit = self.unit(_is_numeric(node))
        if unit is None:
            return multiplied if self.at > start else None
        if isinstance(node, Symbol) and node.name.isupper() and self.tokens[start].kind == "letter":
            self.at = start  # Upright letters beside each other are no quantity: \\mathrm{AB}.
            return None
        quantity = Quantity(multiplied, unit)
        return self.compound(quantity)

    def _note(self, node: Node) -> Node | None:
        """A parenthesis that is no factor: "(mod 5)", "(k \\in Z)", "(even)"."""
        start = self.at
        self.take()
        if self.token.text == r"\mod":
            self.take()
            modulus = self.sum()
            self.expect(")")
            return Apply("mod", (node, modulus))
        end = self.until(")")
        inside = self.tokens[self.at : end]
        if any(t.kind == "word" or t.text in (r"\in", r"\ge", r"\le", "<", ">", r"\ne") for t in inside):
            content = self.part(end)
            self.expect(")")
            if _is_condition(content):
                return Conditional(node, content)
            if isinstance(content, Words) and all(vocabulary.is_label(w) for w in content.text.split()):
                return Quantity(node, label(f"({content.text})"))
            raise UnreadError("a parenthesis that is neither a factor nor a note")
        self.at = start
        return None


def _is_numeric(node: Node) -> bool:
    """Whether `node` is a number, or calculated from numbers and \\pi."""
    match node:
        case Number() | Symbol(r"\pi"):
            return True
        case Apply("+" | "*" | "/" | "^" | "neg" | "sqrt" | "pm" | ":" | "clock", operands):
            return all(_is_numeric(o) for o in operands)
    return False


def _is_condition(node: Node) -> bool:
    """Whether a parenthesis states a condition: (k \\in Z), (x > 0, y > 0), (a < 1 for b = 2)."""
    match node:
        case Relation():
            return True
        case Conditional(value, _):
            return _is_condition(value)
        case Items(members):
            return all(_is_condition(m) for m in members)
    return False
