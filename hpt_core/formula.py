"""Formulas of the pass rate P in params.yaml: arithmetic and comparisons, without executing any code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

Function = Callable[[Any], Any]
"""P, a float or a tensor -> the value, of the same type and shape."""

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

    The function takes a float or a tensor of any shape. Raises ValueError for anything else in the text.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no formula of P ({error.msg}); write e.g. 1 - P") from error
    evaluate = _compile(tree, text)
    return lambda rate: evaluate(rate) + 0.0 * rate  # so that a constant has the shape of P


def _compile(node: ast.expr, text: str) -> Function:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return lambda rate: value
        case ast.Name(id="P"):
            return lambda rate: rate
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [operand], text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], [left, right], text)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            comparison = _apply(_OPERATORS[type(op)], [left, right], text)
            # The factor has the dtype of P; a bare 1.0 * bool would be a float32 tensor.
            return lambda rate: comparison(rate) * (1.0 + 0.0 * rate)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], arguments, text)
    raise ValueError(
        f"{ast.unparse(node)!r} in {text!r}: a formula of P has numbers, P, + - * / **, comparisons, and "
        f"{', '.join(_FUNCTIONS)}"
    )


def _apply(function: Callable[..., Any], operands: list[ast.expr], text: str) -> Function:
    compiled = [_compile(operand, text) for operand in operands]
    return lambda rate: function(*(evaluate(rate) for evaluate in compiled))
