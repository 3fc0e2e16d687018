"""Mathematical equality: by exact comparison of the texts if that decides it, else by math-verify."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from hpt_core.errors import LimitError
from hpt_core.verifier import exact, latex
from hpt_core.verifier.extraction import last_boxed

MAX_LENGTH = 2000
"""Largest length of an answer in characters. No real answer is longer; parsing is not linear in time."""

_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def reference(gold: str) -> str:
    """The answer in a reference, which may be a worked solution that ends in a box."""
    return (last_boxed(gold) or gold).strip()


def reference_problem(gold: str) -> str | None:
    """Why `gold` cannot be read as a mathematical answer; None if it can. Does not parse it."""
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
    """Equality of answers that need no algebra; None if it is undecided."""
    verdict = exact.compare(answer, reference(gold))
    return False if verdict is None and len(answer) > MAX_LENGTH else verdict


@lru_cache(maxsize=1)
def load() -> None:
    """Do imports and warm up the parser, so that neither counts as time of the first answers."""
    latex.load()
    # sympy imports its modules for simplification and for sets at their first use.
    equal("(x-1)(x+1)", "x^2-1")
    equal(r"(0,9)\cup(9,36)", "12")
    equal("x=5", "y=2x+3")


def equal(answer: str, gold: str) -> bool:
    """True if math-verify finds `answer` equal to `gold`. May take for ever.

    Raises VerifierError where the comparison runs out of memory or stack.
    """
    answer_forms = latex.parse(_without_full_stop(answer))
    gold_forms = latex.parse(_without_full_stop(reference(gold)))
    # Both are an object and the text that it was parsed from; only like forms are compared.
    return any(
        _same(gold_form, answer_form)
        for gold_form in gold_forms
        for answer_form in answer_forms
        if isinstance(gold_form, str) == isinstance(answer_form, str)
    )


def _same(gold_form: Any, answer_form: Any) -> bool:
    from math_verify import verify

    try:
        if differ_at_a_point(gold_form, answer_form):
            return False
        # math-verify's time-outs use signals, which do not work off the main thread.
        return bool(verify([gold_form], [answer_form], timeout_seconds=None, raise_on_error=True))
    except (MemoryError, RecursionError) as e:
        raise LimitError(f"comparing with the reference ran out of {_resource(e)}") from e
    except Exception:
        # sympy raises many kinds of errors on values that cannot be compared (1/0 with a set): not equal.
        logging.getLogger(__name__).debug("not comparable", exc_info=True)
        return False


def differ_at_a_point(a: Any, b: Any) -> bool:
    """True if two expressions have different values at one point of their symbols, so that they are unequal.

    This takes a hundredth of the time of simplify(a - b), by which math-verify finds the same. False if the
    point does not decide, and where math-verify's rules are not those of arithmetic: percentages, equations,
    sets, and a lone symbol, which may be a word.
    """
    import sympy

    kinds = (sympy.Symbol, sympy.MatrixExpr, sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
    for expression in (a, b):
        if not isinstance(expression, sympy.Expr) or isinstance(expression, kinds[:2]):
            return False
        if expression.has(sympy.UnevaluatedExpr, sympy.Derivative, *kinds[2:]):
            return False
    names = sorted({symbol.name for symbol in a.free_symbols | b.free_symbols})
    point = {name: 0.6137 + 0.2391 * i for i, name in enumerate(names)}
    x, y = (_value(expression, point) for expression in (a, b))
    if x is None or y is None:
        return False
    # The tolerance is far above the numerical error, and above math-verify's rounding.
    return abs(x - y) > 1e-4 * max(1.0, abs(x), abs(y))


def _value(expression: Any, point: dict[str, float]) -> complex | None:
    """The value at `point`; None if it is no number or too large to compare."""
    substitution = {symbol: point[symbol.name] for symbol in expression.free_symbols}
    value = expression.evalf(15, subs=substitution)
    if not value.is_number:
        return None
    number = complex(value)
    return number if abs(number) < 1e100 else None  # also None for NaN


def _without_full_stop(text: str) -> str:
    """`text` without a final full stop, which math-verify would read as part of a formula."""
    return text.strip().removesuffix(".").strip()


def _resource(error: BaseException) -> str:
    return "memory" if isinstance(error, MemoryError) else "stack"
