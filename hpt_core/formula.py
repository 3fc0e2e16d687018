"""Formulas of the pass rate P in params.yaml: arithmetic and comparisons, without executing any code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

Function = Callable[[Any], Any]
"""P, a float or a tensor -> the value, of the same type and shape."""

LONGEST: Final = 1000
"""Characters of a formula, so that reading one cannot take long."""
DEEPEST: Final = 100
"""Operations and functions within each other, far below what the stack of Python and its parser can hold."""

TOLERANCE: Final = 1e-6
"""Two rates that differ by less are the same: rounding moves a mean of rewards, such as 0.1 + 0.1 + 0.1 over
3, and float32 moves the rewards themselves. The rates of k solved of n differ by more up to n = 1000."""


def above(rate: Any, threshold: Any) -> Any:
    """rate > threshold, for floats or tensors; False where they are the same up to `TOLERANCE`."""
    return rate - threshold > TOLERANCE


def at_least(rate: Any, threshold: Any) -> Any:
    """rate >= threshold; True where they are the same up to `TOLERANCE`."""
    return rate - threshold >= -TOLERANCE


_OPERATORS: Final[Mapping[type, Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Gt: above,
    ast.GtE: at_least,
    ast.Lt: lambda a, b: above(b, a),
    ast.LtE: lambda a, b: at_least(b, a),
}
# Each function takes a float or a tensor, which the functions of math and torch do not.
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "min": lambda a, b: (a + b - abs(a - b)) / 2,
    "max": lambda a, b: (a + b + abs(a - b)) / 2,
    "exp": lambda a: math.e**a,
    "sqrt": lambda a: a**0.5,
}


def parse(text: str) -> Function:
    """The function of P in `text`: numbers, P, + - * / **, < <= > >= (1 or 0), abs min max exp sqrt.

    The function takes a float or a tensor of any shape; for a float it raises ArithmeticError where it has no
    value, and TypeError where it compares what is no real number. Raises ValueError for anything else in the
    text, and for a text that is too long or too nested.
    """
    if len(text) > LONGEST:
        raise ValueError(
            f"a formula of P has {LONGEST} characters at most, and this one {len(text)}; shorten it"
        )
    try:
        tree = ast.parse(text, mode="eval").body
    except (MemoryError, RecursionError):  # the parser's own limits
        raise ValueError(_too_deep(text)) from None
    except (SyntaxError, ValueError) as error:
        reason = getattr(error, "msg", error)
        raise ValueError(f"{text!r} is no formula of P ({reason}); write e.g. 1 - P") from error
    evaluate = _compile(tree, text)
    return lambda rate: evaluate(rate) + 0.0 * rate  # so that a constant has the shape of P


def _too_deep(text: str) -> str:
    return f"the formula of P {text[:40]!r}... has over {DEEPEST} operations within each other; simplify it"


def _compile(node: ast.expr, text: str, depth: int = 0) -> Function:
    if depth > DEEPEST:
        raise ValueError(_too_deep(text))
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            # Whole numbers of Python grow without limit: 9 ** 9 ** 9 ** 9 would take for ever.
            number = _float(value, text)
            return lambda rate: number
        case ast.Name(id="P"):
            return lambda rate: rate
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [operand], text, depth)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [left, right], text, depth)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            comparison = _apply(_OPERATORS[type(op)], [left, right], text, depth)
            # The factor has the dtype of P; a bare 1.0 * bool would be a float32 tensor.
            return lambda rate: comparison(rate) * (1.0 + 0.0 * rate)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], arguments, text, depth)
    raise ValueError(
        f"{ast.unparse(node)!r} in {text!r}: a formula of P has numbers, P, + - * / **, comparisons, and "
        f"{', '.join(_FUNCTIONS)}"
    )


def _float(value: int | float, text: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValueError(f"a number in {text[:40]!r} is beyond 1e308, and a formula of P has none; lower it")
    return number


def _apply(function: Callable[..., Any], operands: list[ast.expr], text: str, depth: int) -> Function:
    compiled = [_compile(operand, text, depth + 1) for operand in operands]
    return lambda rate: function(*(evaluate(rate) for evaluate in compiled))
