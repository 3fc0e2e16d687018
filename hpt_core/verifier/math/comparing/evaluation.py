"""Whether two expressions have the same value, from their values at several points."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.indices import with_numbered_indices
from hpt_core.verifier.math.comparing.points import DIGITS, Point, free_symbols, integer_symbols
from hpt_core.verifier.math.comparing.values import LARGEST_EXPONENT, UndefinedError, value
from hpt_core.verifier.math.tree import Apply, Node, Number, Quantity, has_operation, walk
from hpt_core.verifier.math.units import DEGREE

POINTS = 8
AGREEMENTS = 3
"""Points at which two expressions with variables must agree."""
ROUNDED_DIGITS = 12
"""A decimal of at least so many significant digits is a rounded value, as a computer prints one."""

_CLOSE = 90
_ROUGHLY_CLOSE = 12


class EvaluationNeededError(Exception):
    """The values are no rational numbers; comparing them takes a process that can be stopped."""


def same_value(a: Node, b: Node, evaluate: bool) -> bool:
    """Whether `a` and `b` are equal at every value of their variables.

    Raises EvaluationNeededError unless `evaluate`, if rational arithmetic does not decide.
    """
    if a == b:
        return True
    x, y = exact(a), exact(b)
    if x is not None and y is not None:
        return x == y or _rounds(a, y) or _rounds(b, x)
    if with_numbered_indices(a) == with_numbered_indices(b):
        return True
    if not evaluate:
        raise EvaluationNeededError
    one_has_degrees = _degrees_outside_functions(a) != _degrees_outside_functions(b)
    if has_operation(a, "log") != has_operation(b, "log") and same_at_points(a, b, common_logarithm=True):
        return True  # log 100 = 2: one side says by its value which base it means.
    return same_at_points(a, b) or (one_has_degrees and same_at_points(a, b, plain_degrees=True))


def same_at_points(a: Node, b: Node, plain_degrees: bool = False, common_logarithm: bool = False) -> bool:
    """Whether the values agree at AGREEMENTS points or more, and differ at none where both are real."""
    symbols = free_symbols(a) | free_symbols(b)
    integers = integer_symbols(a) | integer_symbols(b)
    real = other = 0
    for number in range(POINTS if symbols else 1):
        point = Point(number, integers, plain_degrees=plain_degrees, common_logarithm=common_logarithm)
        try:
            x, y = value(a, point), value(b, point)
        except UndefinedError:
            continue
        if _is_real(x) != _is_real(y):
            continue
        if not _close(a, b, x, y, point):
            if _is_real(x):
                return False
            other = -POINTS
        elif _is_real(x):
            real += 1
        else:
            other += 1
    needed = AGREEMENTS if symbols else 1
    return real >= needed or (real == 0 and other >= needed)


def is_rounded(value: Node, decimal: Number, evaluate: bool) -> bool:
    """Whether `decimal` is the constant `value`, rounded or cut to its last digit.

    Raises EvaluationNeededError unless `evaluate`.
    """
    if not evaluate:
        raise EvaluationNeededError
    number = number_value(value)
    if number is None or not decimal.value:
        return False
    # The unit of the last digit of 0.0141, which has three significant ones, is 10^-4.
    places = decimal.digits - _exponent(decimal.value) - 1 if decimal.digits else 0
    error = (number - _as_float(decimal.value)) * 10**places
    return bool(abs(error) <= 0.5 or 0 <= error * (1 if decimal.value > 0 else -1) < 1)


def _exponent(value: Fraction) -> int:
    """The decimal exponent of the first digit: 1 for 14.1, and -2 for 0.0141."""
    exponent = len(str(abs(value.numerator))) - len(str(value.denominator))
    return exponent if abs(value) >= Fraction(10) ** exponent else exponent - 1


def _as_float(value: Fraction) -> Any:
    import mpmath

    return mpmath.mpf(value.numerator) / value.denominator


def number_value(node: Node) -> Any:
    """The value of a constant as a real mpmath number; None if it is none."""
    if free_symbols(node):
        return None
    try:
        found = value(node, Point(0, frozenset()))
    except UndefinedError:
        return None
    return found.real if _is_real(found) else None


def is_constant(node: Node) -> bool:
    """Whether `node` has no variables."""
    return not free_symbols(node) and not any(
        isinstance(n, Apply) and n.operation == "apply" for n in walk(node)
    )


def _close(a: Node, b: Node, x: Any, y: Any, point: Point) -> bool:
    """Whether x and y are equal but for the error of their computation.

    Digits before the point and digits that cancel take away from those that are compared, so the values are
    computed again with more digits where there are such.
    """
    import mpmath

    if x == y or _rounds_at(a, x, y) or _rounds_at(b, y, x):
        return True
    if not (mpmath.isfinite(x) and mpmath.isfinite(y)):
        return False
    places = _ROUGHLY_CLOSE if point.rough else _CLOSE
    size = max(abs(x), abs(y))
    exponent = int(mpmath.floor(mpmath.log(size, 10)))
    if abs(exponent) > LARGEST_EXPONENT:
        return False
    if not point.rough and (exponent > 10 or exponent < -_CLOSE + 10):
        finer = replace(point, digits=DIGITS + 2 * abs(exponent))
        x, y = value(a, finer), value(b, finer)
        size = max(abs(x), abs(y))
        if exponent < 0 and size < mpmath.mpf(10) ** (2 * exponent - 5):
            return True  # both vanish as digits are added: they are zero
        with mpmath.workdps(finer.digits):
            return bool(abs(x - y) <= size * mpmath.mpf(10) ** (-_CLOSE - max(exponent, 0)))
    with mpmath.workdps(point.digits):
        return bool(abs(x - y) <= size * mpmath.mpf(10) ** -places)


def _is_real(x: Any) -> bool:
    import mpmath

    return bool(mpmath.im(x) == 0 or abs(mpmath.im(x)) < mpmath.mpf(10) ** -80 * (1 + abs(mpmath.re(x))))


def _rounds(decimal: Node, other: Fraction) -> bool:
    """Whether a decimal of many digits is `other`, rounded or cut to its last digit."""
    if not isinstance(decimal, Number) or decimal.digits < ROUNDED_DIGITS or not _recurs(other):
        return False  # A value whose decimals end would have been printed as it is.
    return bool(abs(decimal.value - other) <= abs(decimal.value) / Fraction(10) ** (decimal.digits - 1))


def _recurs(value: Fraction) -> bool:
    """Whether the decimals of `value` never end."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest > 1


def _rounds_at(decimal: Node, x: Any, y: Any) -> bool:
    if not isinstance(decimal, Number) or decimal.digits < ROUNDED_DIGITS:
        return False
    return bool(abs(x - y) <= abs(x) / 10 ** (decimal.digits - 1))


def _degrees_outside_functions(node: Node) -> bool:
    match node:
        case Quantity(_, unit) if unit == DEGREE:
            return True
        case Apply("+" | "*" | "/" | "neg", operands):
            return any(_degrees_outside_functions(o) for o in operands)
    return False
