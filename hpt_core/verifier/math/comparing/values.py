"""The value of an expression: exact where it is rational, else to many digits at points of its variables.

Two expressions are equal if their values are at every point. A wrong answer that agrees with the reference to
ninety digits at several points that it cannot know does not occur by chance, and no rule of algebra has to be
known for a right one (J. Schwartz, "Fast probabilistic algorithms for verification of polynomial identities",
1980, is the same test for polynomials).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial, gcd, lcm
from typing import Any

from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.indices import SERIES
from hpt_core.verifier.math.comparing.points import CONSTANTS, Point
from hpt_core.verifier.math.tree import (
    Apply,
    Based,
    Matrix,
    Node,
    Number,
    Quantity,
    Symbol,
    Words,
    children,
    has_operation,
)
from hpt_core.verifier.math.units import DEGREE

LARGEST_EXPONENT = 4000
"""Largest decimal exponent of a value that is compared; digits are added for those before the point."""
_ROUGH_DIGITS = 25
_MAX_TERMS = 5000

_NAMED = {
    "ln": "log",
    "lg": "log10",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arccot": "acot",
    "arcsec": "asec",
    "arccsc": "acsc",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arsinh": "asinh",
    "arcosh": "acosh",
    "artanh": "atanh",
    "exp": "exp",
    "Re": "re",
    "Im": "im",
    "sgn": "sign",
}
_UNCHANGED = (
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan acot asinh acosh atanh sign erf arg"
)
_NAMED |= {name: name for name in _UNCHANGED.split()}
_COMMUTATIVE = frozenset(("dot", r"\cup", r"\cap", r"\land", r"\lor", r"\oplus"))


class UndefinedError(Exception):
    """The expression has no value at this point, or none that can be compared."""


def value(node: Node, point: Point) -> Any:
    """The value of `node` at `point` as an mpmath number. Raises UndefinedError where it has none."""
    import mpmath

    with mpmath.workdps(point.digits):
        try:
            result = _Evaluation(point, mpmath.mp).value(node, {})
        except (ZeroDivisionError, ValueError, OverflowError, TypeError, mpmath.libmp.NoConvergence) as e:
            raise UndefinedError(str(e)) from e
        if not mpmath.isfinite(result) and result not in (mpmath.inf, -mpmath.inf):
            raise UndefinedError("no number")
        return result


class _Evaluation:
    def __init__(self, point: Point, mp: Any) -> None:
        self.point = point
        self.mp = mp

    def value(self, node: Node, bound: dict[str, Any]) -> Any:
        match node:
            case Number(v):
                return self.mp.mpf(v.numerator) / v.denominator
            case Symbol(name):
                if name in bound:
                    return bound[name]
                if name in CONSTANTS:
                    return (
                        self.mp.mpf(getattr(self.mp, CONSTANTS[name])) if name != "i" else self.mp.mpc(0, 1)
                    )
                return self.point.variable(name, self.mp)
            case Words(text):
                return self.point.variable(f"text {text}", self.mp)
            case Based(digits, base):
                return self.point.variable(f"{digits} base {base}", self.mp)
            case Quantity(inner, unit):
                return self._quantity(self.value(inner, bound), unit)
            case Apply("^", (base, exponent)):
                return self._power(self.value(base, bound), self.value(exponent, bound), exact(exponent))
            case Apply(operation) if operation in SERIES:
                return self._series(node, bound)
            case Apply("det", (Matrix(rows),)):
                return self.mp.det(self.mp.matrix([[self.value(e, bound) for e in row] for row in rows]))
            case Apply(operation, operands):
                return self._apply(operation, [self.value(o, bound) for o in operands])
            case _:
                # Tuples, sets and relations within an expression are known by their parts.
                parts = [self.value(c, bound) for c in children(node)]
                name = type(node).__name__ + "".join(getattr(node, "operators", ()))
                return self._unknown(name, parts)

    def _quantity(self, number: Any, unit: Any) -> Any:
        if unit == DEGREE:
            return number if self.point.plain_degrees else number * self.mp.pi / 180
        scaled = number * unit.factor.numerator / unit.factor.denominator
        for base, power in unit.dimensions:
            scaled *= self.point.variable(f"unit {base}", self.mp) ** int(power)
        return scaled

    def _apply(self, operation: str, v: list[Any]) -> Any:
        mp = self.mp
        match operation, v:
            case "+", _:
                return mp.fsum(v)
            case "*", _:
                return mp.fprod(v)
            case "neg", [a]:
                return -a
            case "/", [a, b]:
                return a / b
            case "sqrt", [a]:
                return mp.sqrt(a)
            case "root", [a, n]:
                return self._root(a, n)
            case "cbrt", [a]:
                return self._root(a, mp.mpf(3))
            case (("abs" | "norm"), [a]):
                return abs(a)
            case (("lfloor" | "floor"), [a]):
                return mp.floor(a)
            case (("lceil" | "ceil"), [a]):
                return mp.ceil(a)
            case "!", [a]:
                return self._factorial(a)
            case "!!", [a]:
                if not mp.isint(a) or not 0 <= a <= 10**4:
                    raise UndefinedError("a double factorial of no small integer")
                return mp.fac2(a)
            case "binom", [a, b]:
                return self._binomial(a, b)
            case (("gcd" | "lcm"), _) if all(mp.isint(x) for x in v):
                return mp.mpf((gcd if operation == "gcd" else lcm)(*(int(x) for x in v)))
            case "max", _:
                return max(v)
            case "min", _:
                return min(v)
            case "log", [a, base]:
                return mp.log(a) / mp.log(base)
            case "log", [a]:
                return mp.log(a, 10) if self.point.common_logarithm else mp.log(a)
            case ":", [a, b]:
                return a / b
            case _, [a] if operation in _NAMED:
                return mp.mpf(1) * self._named(operation, a)
        return self._unknown(operation, sorted(v, key=str) if operation in _COMMUTATIVE else v)

    def _named(self, operation: str, a: Any) -> Any:
        name = _NAMED[operation]
        if name == "exp":
            return self._power(self.mp.e, a)
        if name in ("sinh", "cosh") and abs(a) > 9000:
            raise UndefinedError("too large")
        return getattr(self.mp, name)(a)

    def _power(self, base: Any, exponent: Any, rational: Fraction | None = None) -> Any:
        mp = self.mp
        if rational is not None and rational.denominator % 2 and rational.denominator > 1:
            return self._root(base, mp.mpf(rational.denominator)) ** rational.numerator
        if base == 0 and mp.re(exponent) <= 0:
            raise UndefinedError("a power of zero")
        size = mp.re(exponent) * mp.log(abs(base), 10) if base != 0 else 0
        if self.point.rough and size < -4 * LARGEST_EXPONENT:
            return mp.mpf(0)  # far out in an integral
        if abs(size) > 4 * LARGEST_EXPONENT:
            raise UndefinedError("a power too large to compare")
        return mp.power(base, exponent)

    def _root(self, a: Any, degree: Any) -> Any:
        mp = self.mp
        if mp.isint(degree) and int(degree) % 2 and not mp.im(a) and mp.re(a) < 0:
            return -mp.root(-a, int(degree))  # the real root, as school and college read it
        return mp.power(a, 1 / degree)

    def _factorial(self, a: Any) -> Any:
        mp = self.mp
        if not mp.isint(a) or not 0 <= a <= 10**4:
            raise UndefinedError("a factorial of no small integer")
        return mp.mpf(factorial(int(a)))

    def _binomial(self, a: Any, b: Any) -> Any:
        mp = self.mp
        if not (mp.isint(a) and mp.isint(b)) or not 0 <= a <= 10**4:
            raise UndefinedError("a binomial coefficient of no small integers")
        return mp.mpf(comb(int(a), int(b))) if b >= 0 else mp.mpf(0)

    def _unknown(self, name: str, operands: list[Any]) -> Any:
        """The value of a function without a definition: drawn by its name and the values of its operands."""
        mp = self.mp
        texts = [mp.nstr(mp.mpc(o) + 0, 25, strip_zeros=False) for o in operands]
        digest = hashlib.sha256("|".join([name, *texts]).encode()).digest()
        return mp.mpf(int.from_bytes(digest[:12], "big") + 1) / 2**96 + mp.mpf("0.25")

    def _limit(self, method: Any, term: Callable[[Any], Any], bounds: list[Any]) -> Any:
        """An integral or an infinite series, by numerical approximation."""
        self.point.rough = True
        with self.mp.workdps(_ROUGH_DIGITS):
            return method(term, bounds)

    def _series(self, node: Apply, bound: dict[str, Any]) -> Any:
        mp = self.mp
        index, lower, upper, body = node.operands
        assert isinstance(index, Symbol)
        low, high = self.value(lower, bound), self.value(upper, bound)

        def term(x: Any) -> Any:
            return self.value(body, {**bound, index.name: x})

        if node.operation == "integral":
            if has_operation(body, "apply", "_"):
                raise UndefinedError("an integral of an unknown function")
            return self._limit(mp.quad, term, [low, high])
        if high == mp.inf:
            return self._limit(mp.nsum if node.operation == "sum" else mp.nprod, term, [low, high])
        if not (mp.isint(low) and mp.isint(high)) or high - low > _MAX_TERMS:
            raise UndefinedError("a sum of no small number of terms")
        terms = [term(mp.mpf(k)) for k in range(int(low), int(high) + 1)]
        return mp.fsum(terms) if node.operation == "sum" else mp.fprod(terms)
