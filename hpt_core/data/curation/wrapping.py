"""The instruction that all problems of a source stand in, as a template for `unwrap`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

ENOUGH = 20
"""Different problems from which on a common beginning or end is no accident."""
INSTRUCTION_WORDS, PROBLEM_WORDS = 4, 5
"""Least number of words of an instruction, and of what is left of the problems (their median)."""

_BREAK = re.compile(r"(?<=[.:?!])\s+|\s*\n\s*")


def shared_instruction(problems: Sequence[str]) -> str | None:
    """The template of `unwrap` that takes the common beginning and end off all `problems`.

    Both are cut at the end of a sentence or of a line. None if nothing is common, or if what is left would be
    too short for a problem, as with a generated task whose problems differ in a word.
    """
    texts = list(dict.fromkeys(text.strip() for text in problems))
    if len(texts) < ENOUGH:
        return None
    before = _up_to_a_break(common_beginning(texts))
    rest = [text.removeprefix(before) for text in texts]
    after = _from_a_break(common_beginning([text[::-1] for text in rest])[::-1])
    inner = [text.removesuffix(after).strip() for text in rest]
    if not (before or after) or not all(inner) or median(len(text.split()) for text in inner) < PROBLEM_WORDS:
        return None
    return f"{literal(before)}{{problem}}{literal(after)}"


def common_beginning(texts: Sequence[str]) -> str:
    """What all `texts` begin with."""
    # The first and the last in alphabetical order differ where any two do.
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _up_to_a_break(text: str) -> str:
    ends = [found.end() for found in _BREAK.finditer(text)]
    kept = text[: ends[-1]] if ends else ""
    return kept if len(kept.split()) >= INSTRUCTION_WORDS else ""


def _from_a_break(text: str) -> str:
    # The end of the problem's own last sentence may be common too, as its full stop is.
    starts = [found.start() for found in _BREAK.finditer(text) if found.end() < len(text)]
    kept = text if text[:1].isspace() else text[starts[0] :] if starts else ""
    return kept if len(kept.split()) >= INSTRUCTION_WORDS else ""


def literal(text: str) -> str:
    """`text` as a template has it: `{}` is a pair of braces, and other braces are doubled."""
    return re.sub(r"\{\}|[{}]", lambda brace: brace[0] if brace[0] == "{}" else brace[0] * 2, text)
