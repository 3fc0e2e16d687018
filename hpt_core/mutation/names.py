"""Other names in a mathematical answer, and lists that lack an element."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpt_core.mutation.tokens import (
    CLOSING,
    OPENING,
    RELATIONS,
    SEPARATORS,
    SIGNS,
    Mutant,
    Token,
    content,
    items,
    replaced,
)

_GREEK = frozenset(
    (
        r"\alpha",
        r"\beta",
        r"\gamma",
        r"\delta",
        r"\theta",
        r"\lambda",
        r"\mu",
        r"\phi",
        r"\varphi",
        r"\rho",
        r"\sigma",
        r"\tau",
        r"\psi",
        r"\pi",
    )
)
_OFTEN_FREE = frozenset("knmtABK")
"""Names of integers, parameters and constants, which an answer may choose."""
_FUNCTIONS = frozenset("fghFGPQ")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPELLED = re.compile(r"(?<![A-Za-z])[A-Za-z]{2,}")


def letter_mutants(answer: str, found: Sequence[Token]) -> Iterator[Mutant]:
    """The answer with another letter in one place.

    Left alone: answers with words or texts beside the formula; the lone side of a relation, as in x = 5;
    the unknown of an equation in one unknown; names of functions; and a k, n, m or t that occurs once, or
    beside a set of numbers that it may come from.
    """
    if any(token.role == "text" for token in found) or _SPELLED.search(_COMMAND.sub(" ", answer)):
        return
    named = [token for i, token in enumerate(found) if _is_name(found, i)]
    letters = [token.text for token in named]
    if any(token.text in RELATIONS for token in found) and len(set(letters)) == 1:
        return
    has_domain = any(token.text in (r"\mathbb", r"\in", "∈") for token in found)
    for token in named:
        if token.text in _OFTEN_FREE and (has_domain or letters.count(token.text) == 1):
            continue
        new = r"\chi " if token.text in _GREEK else other_letter(token.text, answer)
        yield Mutant("letter", replaced(answer, token.start, token.end, new))


def element_mutants(answer: str, found: Sequence[Token]) -> Iterator[Mutant]:
    """A list, set or tuple without its last element; no interval, and nothing with relations or texts."""
    if any(token.role == "text" or token.text in SEPARATORS - {","} for token in found):
        return
    if not found or (found[0].text, found[-1].text) in (("(", "]"), ("[", ")"), ("[", "]")):
        return
    commas = [i for i, token in enumerate(found) if token.text == "," and token.role == "formula"]
    parts = [tuple(token.text for token in content(item)) for item in items(found)]
    if not commas or len(parts) != len(commas) + 1 or len(set(parts)) != len(parts):
        return
    depth = sum((t.text in OPENING) - (t.text in CLOSING) for t in found[: commas[-1]])
    end = found[-1].start if depth == 1 else len(answer)
    if depth == 0 or (depth == 1 and found[-1].text in CLOSING):
        closing = answer.rfind(r"\right", 0, end) if depth and r"\right" in answer else end
        yield Mutant("element", replaced(answer, found[commas[-1]].start, closing, ""))


def other_letter(letter: str, answer: str) -> str:
    """A letter that the answer does not have, of the same case, that names no constant and no unit."""
    other = next((c for c in "qwvupbzyr" if c not in answer.lower()), "q" if letter.lower() != "q" else "w")
    return other.upper() if letter.isupper() else other


def _is_name(found: Sequence[Token], i: int) -> bool:
    """Whether a token is a letter that the answer does not choose."""
    token, before = found[i], found[i - 1] if i else None
    if not (token.is_letter or token.text in _GREEK) or token.role not in ("formula", "exponent"):
        return False
    if token.text in ("e", "E") and before is not None and before.is_number:
        return False  # 1e5
    if token.text in _FUNCTIONS and [t.text for t in found[i + 1 : i + 2]] in (["("], ["^"]):
        return False
    return not _names_a_side(found, i)


def _names_a_side(found: Sequence[Token], i: int) -> bool:
    """Whether a side of a relation is the token alone, with an index or an argument: x, x_1, f(x)."""
    ends = RELATIONS | {",", ";"}
    left = next((j for j in range(i, -1, -1) if found[j].text in ends), -1)
    right = next((j for j in range(i, len(found)) if found[j].text in ends), len(found))
    if not any(found[j].text in RELATIONS for j in (left, right) if 0 <= j < len(found)):
        return False
    side = [token for token in found[left + 1 : right] if token.role != "index"]
    has_value = any(t.is_number or t.text in SIGNS or t.text in ("^", r"\frac", r"\sqrt") for t in side)
    letters = [token for token in side if token.is_letter or token.text in _GREEK]
    is_call = len(side) == 4 and (side[1].text, side[3].text) == ("(", ")")
    return not has_value and (len(letters) == 1 or is_call)
