"""The grammar of units: their exponents, products and quotients, and words that name what is counted."""

from __future__ import annotations

import re
from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.operands import Operands
from hpt_core.verifier.math.reading.tokens import UnreadError
from hpt_core.verifier.math.tree import (
    Apply,
    Node,
    Number,
    Quantity,
)
from hpt_core.verifier.math.units import MULTIPLIERS, UNITS, Unit, label

_LABEL = re.compile(r"[a-z\u00df-\u024f]+(?:-[a-z]+)*|[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]{1,3}")
_DIMENSION_WORDS = frozenset(
    ["long", "wide", "tall", "high", "deep", "old", "away", "thick", "altogether", "total"]
)
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_AFTER = {"squared": 2, "cubed": 3}
_MAX_LABEL = 4


class UnitExpressions(Operands):
    """Reads units and what is counted."""

    def multiplied(self, node: Node) -> Node:
        """`node` times the words that follow: 3 million."""
        while self.token.kind == "word" and self.token.text.casefold() in MULTIPLIERS:
            factor = MULTIPLIERS[self.take().text.casefold()]
            node = Apply("*", (node, Number(Fraction(factor))))
        return node

    def compound(self, first: Quantity) -> Node:
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
            unit = self.unit() if self.token.upright else None
            if unit is not None and unit != first.unit and unit.dimensions == first.unit.dimensions:
                total = Apply("+", (first, Quantity(value, unit)))
                return total
        self.at = start
        return first

    def unit(self, counted: bool = True) -> Unit | None:
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

    def fraction_of_units(self, node: Node) -> Node | None:
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
