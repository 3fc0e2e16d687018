"""Mathematical equality: exactly where the texts decide it, else by math-verify."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from hpt_core.errors import VerifierError
from hpt_core.verifier import exact, latex
from hpt_core.verifier.extraction import last_boxed

MAX_LENGTH = 2000
"""Characters; no answer is longer, and parsing is not linear."""

_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def reference(gold: str) -> str:
    """The answer in a reference, which may be a whole solution that ends in a box."""
    return (last_boxed(gold) or gold).strip()


def reference_problem(gold: str) -> str | None:
    """Why `gold` cannot be read as a mathematical answer; None if it can. Parses nothing."""
    answer = reference(gold)
    if not any(c.isalnum() for c in answer):
        return "the reference answer holds no number, letter or symbol name"
    if len(answer) > MAX_LENGTH:
        return f"the reference answer is longer than {MAX_LENGTH} characters"
    depth = 0
    for token in _BRACES.findall(answer):
        depth += (token == "{") - (token == "}")
        if depth < 0:
            break
    return "the reference answer has unbalanced braces" if depth else None


def quick_equal(answer: str, gold: str) -> bool | None:
    """Equality of what needs no algebra. None: undecided."""
    verdict = exact.compare(answer, reference(gold))
    return False if verdict is None and len(answer) > MAX_LENGTH else verdict


@lru_cache(maxsize=1)
def load() -> None:
    """Do the imports and the learning that would otherwise count as the time of the first answers."""
    latex.load()
    # sympy imports what it simplifies and compares sets with when it first does.
    equal("(x-1)(x+1)", "x^2-1")
    equal(r"(0,9)\cup(9,36)", "12")
    equal("x=5", "y=2x+3")


def equal(answer: str, gold: str) -> bool:
    """True if math-verify finds `answer` equal to `gold`. May take for ever.

    Raises VerifierError where the comparison runs out of memory or stack.
    """
    theirs = latex.parse(_closed(answer))
    ours = latex.parse(_closed(reference(gold)))
    # Each is an object and the text that it was read from; math-verify compares like with like.
    return any(_same(a, b) for a in ours for b in theirs if isinstance(a, str) == isinstance(b, str))


def _same(ours: Any, theirs: Any) -> bool:
    from math_verify import verify

    try:
        if differ_at_a_point(ours, theirs):
            return False
        # Its own time-outs are signals, which fail off the main thread.
        return bool(verify([ours], [theirs], timeout_seconds=None, raise_on_error=True))
    except (MemoryError, RecursionError) as e:
        raise VerifierError(f"comparing with the reference ran out of {_resource(e)}") from e
    except Exception:
        # sympy raises all sorts on what cannot be compared (1/0 with a set): not equal.
        logging.getLogger(__name__).debug("not comparable", exc_info=True)
        return False


def differ_at_a_point(a: Any, b: Any) -> bool:
    """True if two expressions have different values for some values of their symbols, so are not equal.

    A hundredth of the time of simplify(a - b), by which math-verify finds the same. False where there is
    no telling, and where math-verify's rules are not those of arithmetic: percentages, equations, sets,
    and a lone symbol, which may be a word.
    """
    import sympy

    kinds = (sympy.Symbol, sympy.MatrixExpr, sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
    for one in (a, b):
        if not isinstance(one, sympy.Expr) or isinstance(one, kinds[:2]):
            return False
        if one.has(sympy.UnevaluatedExpr, sympy.Derivative, *kinds[2:]):
            return False
    names = sorted({symbol.name for symbol in a.free_symbols | b.free_symbols})
    point = {name: 0.6137 + 0.2391 * i for i, name in enumerate(names)}
    x, y = (_value(one, point) for one in (a, b))
    if x is None or y is None:
        return False
    # Far above the error of the values, and above what math-verify rounds away.
    return abs(x - y) > 1e-4 * max(1.0, abs(x), abs(y))


def _value(expression: Any, point: dict[str, float]) -> complex | None:
    at = {symbol: point[symbol.name] for symbol in expression.free_symbols}
    value = expression.evalf(15, subs=at)
    if not value.is_number:
        return None
    number = complex(value)
    return number if abs(number) < 1e100 else None  # nor NaN


def _closed(text: str) -> str:
    """Without a closing full stop, which math-verify reads as part of a formula."""
    return text.strip().removesuffix(".").strip()


def _resource(error: BaseException) -> str:
    return "memory" if isinstance(error, MemoryError) else "stack"
