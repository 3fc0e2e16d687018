"""The values of written numbers."""

from __future__ import annotations

import re
from fractions import Fraction

from hpt_core.verifier.math.reading.tokens import UnreadError
from hpt_core.verifier.math.tree import Based, Node, Number

_MAX_DIGITS = 3000
_MAX_EXPONENT = 9999


def number(text: str) -> Number:
    """12, 3.5, 1,234 and 4.5e33."""
    if len(text) > _MAX_DIGITS:
        raise UnreadError("a number of thousands of digits")
    mantissa, _, exponent = re.sub(r"\{,\}|\\[,!]|[,\s]", "", text).lower().partition("e")
    if exponent and abs(int(exponent[:9])) > _MAX_EXPONENT:
        raise UnreadError("an exponent of ten thousand or more")
    whole, point, decimals = mantissa.partition(".")
    value = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals))
    digits = len((whole + decimals).lstrip("0")) if point and decimals else 0
    return Number(value * Fraction(10) ** int(exponent or 0), digits)


def repeating(text: str) -> Number:
    """0.1\\overline{6} and 0.1(6) as 1/6."""
    whole, _, rest = text.partition(".")
    decimals = re.match(r"\d*", rest)
    period = "".join(re.findall(r"\d", rest[decimals.end() :])) if decimals else ""
    if decimals is None or not period:
        raise UnreadError("a repeating decimal without its period")
    shift = 10 ** len(decimals.group())
    fixed = Fraction(int((whole or "0") + decimals.group()), shift)
    return Number(fixed + Fraction(int(period), shift * (10 ** len(period) - 1)))


def based(digits: str, base: int) -> Node:
    """204_5; in base ten a number as any other."""
    if not 2 <= base <= 36:
        raise UnreadError(f"the base {base}")
    try:
        value = int(digits, base)
    except ValueError as e:
        raise UnreadError(f"{digits} has digits that base {base} has not") from e
    return Number(Fraction(value)) if base == 10 else Based(digits.lstrip("0").upper() or "0", base)
