"""Mathematical answers: one grammar that reads an answer whole or not at all, and equality of what was read.

`quick_equal` decides by comparison of texts and exact arithmetic, in time linear in the texts; `equal` also
computes values to many digits, and may take long.
"""

from __future__ import annotations

from functools import lru_cache

from hpt_core.verifier.math.comparing.answers import Answers
from hpt_core.verifier.math.comparing.evaluation import EvaluationNeededError
from hpt_core.verifier.math.reading.spelling import canonical
from hpt_core.verifier.math.reading.statements import Statements
from hpt_core.verifier.math.reading.tokens import Token, UnreadError, tokenize
from hpt_core.verifier.math.tree import Node

MAX_LENGTH = 2000
"""Largest length of an answer in characters; no real answer is longer."""
_MEMORY = 4096
_GROUPED = ",", r"\,", r"\!", " "


def quick_equal(answer: str, gold: str) -> bool | None:
    """Equality by text and exact arithmetic; None if values have to be computed."""
    try:
        return _equal(answer, gold, evaluate=False)
    except EvaluationNeededError:
        return None


def equal(answer: str, gold: str) -> bool:
    """Whether `answer` is equal to `gold`. May take long."""
    return _equal(answer, gold, evaluate=True)


@lru_cache(maxsize=1)
def load() -> None:
    """Import the arithmetic, so that it does not count as time of the first answer."""
    equal(r"\sqrt{2}x", r"x\sqrt{3}")


def _equal(answer: str, gold: str, evaluate: bool) -> bool:
    if answer == gold:
        return True
    if len(answer) > MAX_LENGTH:
        return False
    needed = False
    for thousands in (True, False):
        a, b = _read(answer, thousands), _read(gold, thousands)
        if a.key is not None and (a.key == b.key):
            return True
        if a.node is None or b.node is None:
            continue
        try:
            if Answers(evaluate).equal(a.node, b.node):
                return True
        except EvaluationNeededError:
            needed = True
        if not any(mark in text for text in (answer, gold) for mark in _GROUPED):
            break  # Without a comma or a space both readings are the same.
    if needed:
        raise EvaluationNeededError
    return False


class _Reading:
    """A text as it was read: its tokens, and its tree if it is an answer of the grammar."""

    __slots__ = ("key", "node")

    def __init__(self, key: str | None, node: Node | None) -> None:
        self.key = key
        self.node = node


@lru_cache(maxsize=_MEMORY)
def _read(text: str, thousands: bool) -> _Reading:
    if len(text) > MAX_LENGTH:
        return _Reading(text, None)
    try:
        tokens = tokenize(canonical(text), thousands)
    except UnreadError:
        return _Reading(" ".join(text.split()), None)
    key = _key(tokens)
    try:
        return _Reading(key, Statements(tokens).answer())
    except UnreadError:
        return _Reading(key, None)


def _key(tokens: list[Token]) -> str:
    """The tokens as one text, by which answers that the grammar cannot read are compared."""
    parts = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        numbers = before is not None and before.kind == token.kind == "number"
        parts.append(
            (" " if numbers else "") + (token.text.casefold() if token.kind == "word" else token.text)
        )
    return "".join(parts)
