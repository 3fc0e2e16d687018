"""LaTeX and plain expressions as sympy objects, by math-verify, in a fifth of its time.

No text is evaluated as code. LaTeX goes through an ANTLR grammar. Plain expressions go through
sympy.parse_expr, which is eval(), but math-verify hands it only what its own pattern matched: digits,
blanks and . + - * / ^ ( ), with no letter, quote, bracket or underscore, so there is nothing to name or
call. What such text can do is take for ever (9^{9^{9^9}}): the pool kills it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

MEMORY = 2048
"""Parsed texts kept: the references of a step, and answers that many rollouts share."""

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
    """Import math-verify and let its parser learn the usual forms, which would make first calls slow."""
    _use_two_stages()
    for text in _TYPICAL:
        parse(text)


@lru_cache(maxsize=MEMORY)
def parse(text: str) -> list[Any]:
    """The sympy object that `text` is, and `text` as math-verify normalised it. May take for ever."""
    from math_verify import parse as parse_answer  # 0.4 s, for the kind math alone

    _use_two_stages()
    # It warns once that its time-outs are off, which is meant: signals fail off the main thread.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    wrapped = text if text.startswith("$") or "\\[" in text else f"${text}$"
    return list(parse_answer(wrapped, parsing_timeout=None))


@lru_cache(maxsize=1)
def _use_two_stages() -> None:
    """Have latex2sympy try ANTLR's SLL prediction before its LL, which is several times as slow.

    SLL finds the tree that LL finds or reports a syntax error (ANTLR's PredictionMode, SLL), so that the
    second stage makes this exact. latex2sympy has no setting for it.
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
            except Exception:  # the error listener of latex2sympy raises nothing more special
                self.reset()
                self._interp.predictionMode = PredictionMode.LL
                return super().math()

    latex2sympy2.PSParser = TwoStageParser
