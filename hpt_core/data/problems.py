"""Identity of problems (`prompt_id`, `overlap_key`) and comparison of their reference answers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:/\d+)?")
_QUOTES = dict.fromkeys(
    map(
        ord,
        "\"'`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
        "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}",
    )
)
GSM8K_MARKER = r"(?:####|A:)\s*"
"""Start of the last line of a GSM8K solution, before the answer."""
_ANSWER_LINE = re.compile(GSM8K_MARKER + r"(?P<answer>\S.*)")


def normalise(problem: str) -> str:
    """The text under NFKC with single spaces, so that Unicode form and white space make no difference.

    Superscripts, subscripts and vulgar fractions are separated first: NFKC alone turns both 2⁵ and 25 into
    "25".
    """
    if not problem.isascii():
        problem = unicodedata.normalize("NFKC", "".join(map(_separated, problem)))
    return " ".join(problem.split())


def _separated(character: str) -> str:
    """The character, with a sign before it where NFKC would merge it with the digits before it."""
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<super>"):
        return f"^{character}"
    if decomposition.startswith("<sub>"):
        return f"_{character}"
    return f" {character}" if decomposition.startswith("<fraction>") else character


def prompt_id(problem: str) -> str:
    """First 16 hex digits of the sha256 of the normalised problem.

    Case counts: "Polish" spelled backward and "polish" spelled backward have different answers, and so do
    problems about "N apples, n friends". `overlap_key` ignores case, for the search for leaks.
    """
    return hashlib.sha256(normalise(problem).encode()).hexdigest()[:16]


def overlap_key(problem: str) -> str:
    """A key that is equal for problems which differ in case, quotes and a closing mark only.

    Two such problems must not stand on both sides of a split. Signs and operators count: 5 + 3 and 5 - 3 are
    different problems.
    """
    folded = normalise(problem).casefold().translate(_QUOTES)
    return " ".join(folded.rstrip(" .?!:").split())


def final_number(solution: str) -> str | None:
    """The number that a GSM8K solution ends in ("#### 72", "A: 72", or the number alone).

    Thousands separators and the dollar sign are dropped. None if the last line is no answer.
    """
    lines = solution.strip().splitlines()
    if not lines:
        return None
    marked = _ANSWER_LINE.fullmatch(lines[-1].strip())
    if marked is None and len(lines) > 1:
        return None
    text = (marked["answer"] if marked else lines[-1]).strip().replace("$", "").removesuffix(".").strip()
    return text.replace(",", "") if _NUMBER.fullmatch(text) else None


def same_answer(a: str, b: str) -> bool:
    """Whether two reference answers agree as texts or as numbers (72 and 72.0)."""
    if normalise(a) == normalise(b):
        return True
    try:
        return Decimal(a.replace(",", "")) == Decimal(b.replace(",", ""))
    except InvalidOperation:
        return False
