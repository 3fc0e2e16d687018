"""The grammar of what follows a value: units, money, percent, degrees, remainders, moduli and notes."""

from __future__ import annotations

import re
from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.operands import Operands, refuse_other_than_values
from hpt_core.verifier.math.reading.tokens import UnreadError
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
from hpt_core.verifier.math.units import CURRENCY_SIGNS, DEGREE, MULTIPLIERS, PERCENT, UNITS, Unit, label

_LABEL = re.compile(r"[a-z\u00df-\u024f]+(?:-[a-z]+)*|[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]{1,3}")
_DIMENSION_WORDS = frozenset(
    ["long", "wide", "tall", "high", "deep", "old", "away", "thick", "altogether", "total"]
)
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_AFTER = {"squared": 2, "cubed": 3}
_MAX_LABEL = 4


class Quantities(Operands):
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
        return Quantity(self._multiplied(value), UNITS[r"\$" if token.text == "$" else token.text])

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
            return self._fraction_of_units(node)
        return None

    def _multiplied(self, node: Node) -> Node:
        while self.token.kind == "word" and self.token.text.casefold() in MULTIPLIERS:
            factor = MULTIPLIERS[self.take().text.casefold()]
            node = Apply("*", (node, Number(Fraction(factor))))
        return node

    def _measured(self, node: Node) -> Node | None:
        start = self.at
        multiplied = self._multiplied(node)
        unit = self._unit(is_numeric(node))
        if unit is None:
            return multiplied if self.at > start else None
        if isinstance(node, Symbol) and node.name.isupper() and self.tokens[start].kind == "letter":
            self.at = start  # Upright letters beside each other are no quantity: \\mathrm{AB}.
            return None
        quantity = Quantity(multiplied, unit)
        return self._compound(quantity)

    def _compound(self, first: Quantity) -> Node:
        """3 hours 20 minutes, and 5 feet and 6 inches, as their sum."""
        start = self.at
        if self.token.kind == "word" and self.token.text in vocabulary.AND:
            self.take()
        if (
            self.token.kind == "number"
            and first.unit.dimensions
            and not first.unit.dimensions[0][0].startswith("label")
        ):
            value = self.operand()
            unit = self._unit() if self.token.upright else None
            if unit is not None and unit != first.unit and unit.dimensions == first.unit.dimensions:
                total = Apply("+", (first, Quantity(value, unit)))
                return total
        self.at = start
        return first

    def _unit(self, counted: bool = True) -> Unit | None:
        """The product and quotient of units, or the words that name what is counted."""
        unit = self._simple_unit(anywhere=self.token.kind == "command" and self.token.text != r"\mu")
        if unit is None:
            return self._label(counted)
        while True:
            start = self.at
            if self.skip("/") or (
                self.token.kind == "word" and self.token.text in ("per", "a", "an") and self.take()
            ):
                below = self._simple_unit(anywhere=True) or self._label(counted, 1)
                if below is None:
                    self.at = start
                    break
                unit *= below**-1
            elif self.skip(r"\cdot", "*", "-") or self.token.upright:
                other = self._simple_unit()
                if other is None:
                    self.at = start
                    break
                unit *= other
            else:
                break
        while self.token.kind == "word" and self.token.text in _DIMENSION_WORDS:
            self.take()
        return unit

    def _simple_unit(self, anywhere: bool = False) -> Unit | None:
        """A unit with its exponent; in an upright font, unless it can stand `anywhere`, as the h of km/h."""
        start = self.at
        power = 1
        if self.token.kind == "word" and self.token.text.casefold() in _POWER_BEFORE:
            power = _POWER_BEFORE[self.take().text.casefold()]
            self.skip(".")
        micro = self.token.text == r"\mu" and self.ahead(1).upright and bool(self.take())
        token = self.token
        unit = UNITS.get(token.text) or (UNITS.get(token.text.casefold()) if token.kind == "word" else None)
        if unit is None or not (token.upright or anywhere):
            self.at = start
            return None
        self.take()
        if self.token.text == "^" and self.token.kind == "symbol":
            self.take()
            power *= self._integer()
        elif self.token.kind == "word" and self.token.text in _POWER_AFTER:
            power *= _POWER_AFTER[self.take().text]
        return (unit * Unit(Fraction(1, 10**6), ()) if micro else unit) ** power

    def _integer(self) -> int:
        sign = -1 if self.skip("-") else 1
        exponent = self.argument(whole_number=True)
        if isinstance(exponent, Apply) and exponent.operation == "neg":
            sign, exponent = -sign, exponent.operands[0]
        if not isinstance(exponent, Number) or exponent.value.denominator != 1 or abs(exponent.value) > 9:
            raise UnreadError("a unit with an exponent that is no small integer")
        return sign * int(exponent.value)

    def _label(self, counted: bool, most: int = _MAX_LABEL) -> Unit | None:
        """The words that name what is `counted`: a number, and no expression."""
        words: list[str] = []
        start = self.at
        while counted and self.token.kind == "word" and len(words) <= most:
            word = self.token.text.casefold()
            if word in vocabulary.AND | vocabulary.OR | vocabulary.CONDITION:
                break
            if not (_LABEL.fullmatch(word) and vocabulary.is_label(word)) or word in MULTIPLIERS:
                raise UnreadError(f"{word!r} after a number")
            words.append(word)
            self.take()
        if not words or len(words) > most:
            self.at = start
            return None
        return label(" ".join(words))

    def is_fraction_of_units(self) -> bool:
        """Whether \\frac{\\text{m}}{\\text{s}} comes next."""
        return self.token.text == r"\frac" and self.ahead(1).text == "{" and self.ahead(2).upright

    def _fraction_of_units(self, node: Node) -> Node | None:
        start = self.at
        self.take()
        self.expect("{")
        above = self._simple_unit()
        if above is not None and self.skip("}") and self.skip("{"):
            below = self._simple_unit()
            if below is not None and self.skip("}"):
                return Quantity(node, above * below**-1)
        self.at = start
        return None

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


def is_numeric(node: Node) -> bool:
    """Whether `node` is a number, or calculated from numbers and \\pi."""
    match node:
        case Number() | Symbol(r"\pi"):
            return True
        case Apply("+" | "*" | "/" | "^" | "neg" | "sqrt" | "pm" | ":" | "clock", operands):
            return all(is_numeric(o) for o in operands)
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
