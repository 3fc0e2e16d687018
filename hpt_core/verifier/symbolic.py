"""Mathematical equality by math-verify (LaTeX and plain expressions).

No text is evaluated as code. LaTeX goes through an ANTLR grammar. Plain expressions go through
sympy.parse_expr, which is eval(), but math-verify hands it only what its own pattern matched: digits,
blanks and . + - * / ^ ( ), with no letter, quote, bracket or underscore, so there is nothing to name or
call. What such text can do is take for ever (9^{9^{9^9}}): the pool kills it.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from hpt_core.errors import VerifierError
from hpt_core.verifier.extraction import last_boxed, unwrap_text

MAX_LENGTH = 2000
"""Characters; no answer is longer, and parsing is not linear."""

_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[!,;: ]|\\(?:quad|qquad)\b|\s")
_INTEGER = re.compile(r"[-+]?\d{1,100}")
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
    """Equality of what needs no algebra: the same text, or two integers. None: undecided."""
    a, b = _plain(answer), _plain(reference(gold))
    if a == b:
        return True
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return int(a) == int(b)
    return False if len(answer) > MAX_LENGTH else None


def equal(answer: str, gold: str) -> bool:
    """True if math-verify finds `answer` equal to `gold`. May take for ever.

    Raises VerifierError where the comparison runs out of memory or stack.
    """
    from math_verify import verify  # 0.4 s, for the kind math alone

    target = _parse(_plain_units(answer))
    for one in _parse(_plain_units(reference(gold))):
        for other in target:
            try:
                # Its own time-outs are signals, which fail off the main thread.
                if verify([one], [other], timeout_seconds=None, raise_on_error=True):
                    return True
            except (MemoryError, RecursionError) as e:
                raise VerifierError(f"comparing with the reference ran out of {_resource(e)}") from e
            except Exception:
                # sympy raises all sorts on what cannot be compared (1/0 with a set): not equal.
                logging.getLogger(__name__).debug("not comparable", exc_info=True)
    return False


@lru_cache(maxsize=1)
def load() -> None:
    """Do the imports and compile the grammar, which the first call would otherwise do."""
    equal(r"\frac{1}{2}", "0.5")


@lru_cache(maxsize=1024)
def _parse(text: str) -> list[Any]:
    from math_verify import parse

    # It warns once that its time-outs are off, which is meant.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    wrapped = text if text.startswith("$") or "\\[" in text else f"${text}$"
    return list(parse(wrapped, parsing_timeout=None))


def _plain(text: str) -> str:
    stripped = text.strip().removeprefix("$").removesuffix("$").strip().removesuffix(".")
    flat = _SPACING.sub("", stripped).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return unwrap_text(flat)


def _plain_units(text: str) -> str:
    """Without a closing full stop, which math-verify reads as part of a formula."""
    return text.strip().removesuffix(".").strip()


def _resource(error: BaseException) -> str:
    return "memory" if isinstance(error, MemoryError) else "stack"
