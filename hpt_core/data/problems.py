"""When two problems are the same, and what their answers are: identity, overlap, final numbers."""

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
_ANSWER_LINE = re.compile(r"(?:####|A:)\s*(?P<answer>\S.*)")


def normalise(problem: str) -> str:
    """One spelling for texts that differ in Unicode form or white space only (NFKC, single spaces).

    Raised digits and vulgar fractions are set apart first: NFKC alone makes 2⁵ and 25 one problem.
    """
    if not problem.isascii():
        problem = unicodedata.normalize("NFKC", "".join(map(_set_apart, problem)))
    return " ".join(problem.split())


def _set_apart(character: str) -> str:
    form = unicodedata.decomposition(character)
    if form.startswith("<super>"):
        return f"^{character}"
    if form.startswith("<sub>"):
        return f"_{character}"
    return f" {character}" if form.startswith("<fraction>") else character


def prompt_id(problem: str) -> str:
    """First 16 hex digits of the sha256 of the normalised problem.

    Case stays in: "Polish" spelled backward and "polish" spelled backward have different answers,
    as have "N apples, n friends" problems. `overlap_key` ignores it where leaks are looked for.
    """
    return hashlib.sha256(normalise(problem).encode()).hexdigest()[:16]


def overlap_key(problem: str) -> str:
    """Equal for problems too alike to stand on both sides of a split: case, quotes and a closing
    mark aside. Signs and operators stay: 5 + 3 and 5 - 3 are different problems.
    """
    letters = normalise(problem).casefold().translate(_QUOTES)
    return " ".join(letters.rstrip(" .?!:").split())


def final_number(solution: str) -> str | None:
    """The number that a GSM8K solution ends in ("#### 72", "A: 72", or the number alone).

    Thousands separators and the dollar sign are dropped; None where the last line is no answer.
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
    """Whether two reference answers agree: as text, or as numbers (72 and 72.0)."""
    if normalise(a) == normalise(b):
        return True
    try:
        return Decimal(a.replace(",", "")) == Decimal(b.replace(",", ""))
    except InvalidOperation:
        return False
