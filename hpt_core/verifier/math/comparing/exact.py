"""Exact arithmetic on rational numbers of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from math import comb, factorial, gcd, lcm

from hpt_core.verifier.math.tree import Apply, Node, Number

EXACT_BITS = 40_000
"""Largest size of a rational number that is computed exactly; 10^12000 has about so many bits."""


def exact(node: Node) -> Fraction | None:
    """The rational value of `node`; None if it has none that arithmetic of bounded size finds."""
    match node:
        case Number(value):
            return value
        case Apply("neg", (a,)):
            value_or_none = exact(a)
            return None if value_or_none is None else -value_or_none
        case Apply(
            "+" | "*" | "/" | "^" | "!" | "binom" | "abs" | "lfloor" | "lceil" | "gcd" | "lcm" | "max" | "min"
        ):
            values = []
            for operand in node.operands:
                found = exact(operand)
                if found is None:
                    return None
                values.append(found)
            try:
                return _ARITHMETIC[node.operation](values)
            except (ZeroDivisionError, _TooLargeError):
                return None
    return None


class _TooLargeError(Exception):
    pass


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > EXACT_BITS:
        raise _TooLargeError
    return value


def _exact_power(values: list[Fraction]) -> Fraction | None:
    base, exponent = values
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        return None
    bits = base.numerator.bit_length() + base.denominator.bit_length()
    if abs(exponent) * bits > EXACT_BITS:
        raise _TooLargeError
    return base ** int(exponent)


def _whole(values: list[Fraction], limit: int) -> list[int] | None:
    if any(v.denominator != 1 or v < 0 for v in values):
        return None
    if any(v > limit for v in values):
        raise _TooLargeError
    return [int(v) for v in values]


def _exact_factorial(values: list[Fraction]) -> Fraction | None:
    whole = _whole(values, 3000)
    return None if whole is None else Fraction(factorial(whole[0]))


def _exact_binomial(values: list[Fraction]) -> Fraction | None:
    whole = _whole(values, 3000)
    return None if whole is None else Fraction(comb(*whole))


def _exact_divisor(function: Callable[..., int]) -> Callable[[list[Fraction]], Fraction | None]:
    def apply(values: list[Fraction]) -> Fraction | None:
        whole = _whole(values, 10**60)
        return None if whole is None else Fraction(function(*whole))

    return apply


_ARITHMETIC: dict[str, Callable[[list[Fraction]], Fraction | None]] = {
    "+": lambda v: _bounded(sum(v, Fraction(0))),
    "*": lambda v: _bounded(reduce(lambda a, b: a * b, v)),
    "/": lambda v: _bounded(v[0] / v[1]),
    "^": _exact_power,
    "!": _exact_factorial,
    "binom": _exact_binomial,
    "abs": lambda v: abs(v[0]),
    "lfloor": lambda v: Fraction(v[0].__floor__()),
    "lceil": lambda v: Fraction(v[0].__ceil__()),
    "gcd": _exact_divisor(gcd),
    "lcm": _exact_divisor(lcm),
    "max": lambda v: max(v),
    "min": lambda v: min(v),
}
