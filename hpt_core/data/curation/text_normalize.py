"""The normalised text of a problem, in which near duplicates and benchmark leaks are searched."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal, InvalidOperation

from hpt_core.data.problems import normalise

NUMBER = "#"
"""Replaces a number, or several in a row (2 1/2, 3,5,7)."""

_SPELLED = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
    million billion dozen half twice thrice double triple
"""
_NUMBER_WORDS = frozenset(_SPELLED.split())
# In scripts without spaces each character is a word.
_LETTER = r"[^\W\d_\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff]|{_LETTER}+|\d+(?:[.,]\d+)*")
# A hyphen between letters joins words; elsewhere it is a sign.
_FIGURE = re.compile(
    r"\d+(?:[.,]\d+)*|(?<![^\W\d_])-|-(?![^\W\d_])"
    r"|[+*/^=<>%\u00b1\u00b7\u00d7\u00f7\u2212\u2260-\u2265]"
    rf"|(?<!{_LETTER})(?:{'|'.join(_SPELLED.split())})(?!{_LETTER})"
)


def normalized_text(problem: str) -> str:
    """The words of `problem` in lower case, one space apart, without punctuation; numbers as NUMBER.

    "Tom's 2 1/2 hens lay twelve eggs!" is "tom s # hens lay # eggs".
    """
    words: list[str] = []
    for word in _WORD.findall(normalise(problem).casefold()):
        if word[0].isdigit() or word in _NUMBER_WORDS:
            if words and words[-1] == NUMBER:
                continue
            word = NUMBER
        words.append(word)
    return " ".join(words)


def distinctive_words(words: set[str]) -> int:
    """Number of `words` that distinguish problems: neither numbers nor variables of one letter."""
    return sum(len(word) > 1 or not word.isascii() for word in words)


def numbers(text: str) -> set[str]:
    """The different numbers in `text`, as digits."""
    return {word for word in _WORD.findall(text) if word[0].isdigit()}


def figures(problem: str) -> list[str]:
    """Numbers, number words and operators in their order. Problems of the same words may differ in them."""
    return [figure.replace(",", "") for figure in _FIGURE.findall(normalise(problem).casefold())]


def answer_key(answer: str) -> str:
    """A key that is equal for two answers if `problems.same_answer` holds for them."""
    try:
        value = Decimal(answer.replace(",", ""))
    except InvalidOperation:
        return normalise(answer)
    return str(value.normalize() + 0) if value.is_finite() else normalise(answer)


def figures_key(problem: str, answer: str) -> int:
    """A key of 64 bits, equal for problems with the same figures and the same answer."""
    text = "\0".join((*figures(problem), answer_key(answer)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
