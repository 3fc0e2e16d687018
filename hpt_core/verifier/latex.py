"""Parsing of LaTeX and plain expressions into sympy objects with math-verify, in a fifth of its usual time.

No text is evaluated as code. LaTeX goes through an ANTLR grammar. Plain expressions go through
sympy.parse_expr, which calls eval(), but math-verify passes only what its own pattern matches: digits,
blanks and . + - * / ^ ( ). Without a letter, quote, bracket or underscore such text can name and call
nothing. It can take for ever (9^{9^{9^9}}); the pool then kills the process.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

MEMORY = 2048
"""Number of parsed texts in the cache: the references of a step, and answers that many rollouts share."""

_TYPICAL = (
    r"\frac{1}{2}",
    r"-\frac{3\sqrt{13}}{2}",
    r"x^2+3x-6",
    r"6-5i",
    r"(2,\infty)",
    r"\left[\frac{\pi}{2},3\right)",
    r"\{1\pm\sqrt{5},-2\}",
    r"1,-2",
    r"(0,9)\cup(9,36)",
    r"\begin{pmatrix}-1&0\\0&1\end{pmatrix}",
    r"y=-2x+3",
    r"x\in[-2,7]",
    r"\text{even}",
    r"\cos(2t)e^{-t}",
)


@lru_cache(maxsize=1)
def load() -> None:
    """Import math-verify and warm up its parser with typical forms, because the first calls are slow."""
    _use_two_stages()
    for text in _TYPICAL:
        parse(text)


@lru_cache(maxsize=MEMORY)
def parse(text: str) -> list[Any]:
    """`text` as a sympy object, and as the text that math-verify normalised. May take for ever."""
    from math_verify import parse as parse_answer  # takes 0.4 s, and only the kind math needs it

    _use_two_stages()
    # math-verify warns that its time-outs are off. They must be: signals do not work off the main thread.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    wrapped = text if text.startswith("$") or "\\[" in text else f"${text}$"
    return list(parse_answer(wrapped, parsing_timeout=None))


@lru_cache(maxsize=1)
def _use_two_stages() -> None:
    """Make latex2sympy try ANTLR's SLL prediction before LL prediction, which takes several times as long.

    SLL either finds the same tree as LL or reports a syntax error (see ANTLR's PredictionMode), so the result
    of the two stages is exact. latex2sympy has no setting for it.
    """
    from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
    from latex2sympy2_extended import latex2sympy2

    class TwoStageParser(latex2sympy2.PSParser):  # type: ignore[misc]
        def math(self) -> Any:
            self._interp.predictionMode = PredictionMode.SLL
            try:
                return super().math()
            except RecursionError:
                raise
            except Exception:  # latex2sympy's error listener raises the bare class.
                self.reset()
                self._interp.predictionMode = PredictionMode.LL
                return super().math()

    latex2sympy2.PSParser = TwoStageParser
