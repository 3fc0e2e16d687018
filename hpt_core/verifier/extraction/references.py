"""The answer that a reference states, which may be a worked solution, a list in JSON, or an answer alone."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from hpt_core.verifier.extraction import formulas, passages, statements
from hpt_core.verifier.extraction.boxes import is_placeholder, last_box

_LIST = re.compile(r"\[\s*([\"']).{0,2000}\1\s*\]", re.DOTALL)
_DISPLAYED = re.compile(
    r"(?:\$\$(?P<dollars>[^$]+)\$\$|\\\[(?P<square>(?:(?!\\\[|\\\]).)+)\\\]|\\\((?P<round>(?:(?!\\\(|\\\)).)+)\\\))\s*\.?",
    re.DOTALL,
)
_SENTENCE_OF_FORMULAS = re.compile(
    r"[^$\\]*\b(?:is|are|was|equals?|be|gives?|get|obtain|have)\s*:?\s*(?:\$[^$]+\$|\\\(.+?\\\))(?:.*(?:\$|\\\)))?\s*\.?",
    re.DOTALL,
)


@lru_cache(maxsize=8192)
def stated_reference(gold: str) -> str:
    """The answer in a `math` reference: its boxes, else what it announces, else the whole."""
    gold = gold.strip()
    gold = _in_list(gold)
    boxed = last_box(gold)
    if boxed is not None:
        return boxed.text
    if "####" in gold:
        final = gold.rpartition("####")[2].strip()
        if final and "\n" not in final:
            return final
    announced = _announced(gold)
    if announced is not None:
        return announced
    displayed = _DISPLAYED.fullmatch(gold)
    if displayed is not None:
        return (displayed[displayed.lastgroup or 0] or "").strip()
    if _SENTENCE_OF_FORMULAS.fullmatch(gold):
        return formulas.closing_formula(gold) or gold
    return gold


def states_answer(gold: str) -> bool:
    """True if the reference marks or announces its answer, so that the rest of it is a solution."""
    return last_box(gold) is not None or "####" in gold or _announced(gold) is not None


def _in_list(gold: str) -> str:
    """The texts of a list that stands in a text: ["72"] or ['1', '2']; other references as they are."""
    if not _LIST.fullmatch(gold):
        return gold
    try:
        parts = ast.literal_eval(gold)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return gold
    if not all(isinstance(part, str) and part.strip() for part in parts):
        return gold
    return ", ".join(part.strip() for part in parts)


def _announced(gold: str) -> str | None:
    for announcement in statements.announcements(gold, 0):
        passage = passages.content(gold, announcement.content)
        answer = passages.sentence(passage)
        if answer and not is_placeholder(answer):
            return answer
    return None
