"""The options of a multiple-choice question, in the forms in which data sets keep them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from hpt_core.data.reading.benchmarks import choice_problem
from hpt_core.data.reading.values import MISSING, Unreadable, parsed

_LABEL = re.compile(r"\s*\(?([A-Za-z])\s?[).:]\s*")
_MARK = re.compile(r"(?:^|(?<=[\s,;(\[]))\(?([A-Za-z])\s?[).:](?=\s*\S)")
_BETWEEN = " \t\n,;"


def with_choices(question: str, value: Any) -> str:
    """The question with its options below it. Raises Unreadable if `value` holds no options."""
    options = options_in(value)
    if not 2 <= len(options) <= len(ascii_uppercase):
        shown = "is not in the row" if value is MISSING else f"is {value!r}"[:120]
        raise Unreadable(
            "no_options", f"`choices` {shown}; it has to be a list, an object or a text of options"
        )
    return choice_problem(question, options, 0)[0]


def options_in(value: Any) -> list[str]:
    """The options in a list, an object or a text, without their own letters; none if it holds none."""
    held = parsed(value)
    if isinstance(held, dict):
        held = held["text"] if isinstance(held.get("text"), list) else list(held.values())
    if isinstance(held, str):
        held = _split(held)
    if not isinstance(held, list) or not all(isinstance(item, str | int | float) for item in held):
        return []
    texts = [str(item).strip() for item in held]
    return [_LABEL.sub("", text, count=1) for text in texts] if _are_lettered(texts) else texts


def _are_lettered(texts: Sequence[str]) -> bool:
    """Whether each text begins with its own letter, as "A)21" does."""
    letters = [match[1].upper() for text in texts if (match := _LABEL.match(text))]
    return letters == list(ascii_uppercase[: len(texts)])


def _split(text: str) -> list[str]:
    """The options of one text: the letters a, b, c in their order are where they begin."""
    starts: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if len(starts) < len(ascii_uppercase) and mark[1].upper() == ascii_uppercase[len(starts)]:
            starts.append(mark)
    ends = [*(mark.start() for mark in starts[1:]), len(text)]
    # Without any mark there is one end, and no option before it.
    return [text[mark.end() : end].strip(_BETWEEN) for mark, end in zip(starts, ends, strict=False)]
