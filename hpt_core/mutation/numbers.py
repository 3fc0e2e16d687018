"""Other digits in the numbers of a mathematical answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpt_core.mutation.tokens import (
    LOGARITHMS,
    TRIGONOMETRIC,
    Change,
    Mutant,
    Token,
    content,
    is_plain,
    items,
    may_cancel,
    replaced,
)


def mutants(answer: str, found: Sequence[Token]) -> Iterator[Mutant]:
    """The answer with another digit in one place.

    Left alone: items in which it `may_cancel`; angles in pi (sin of 4pi/9 is that of 5pi/9), and all but the
    last digit of other angles and of residues; a number that would repeat another item ({1, 1, 2} is
    {2, 1, 2}); the index of a name; the base of a number of one digit (5 in base 8 is 5 in base 9).
    """
    parts = items(found)
    for item in parts:
        plain = is_plain(item)
        texts = {token.text for token in item}
        is_angle = bool(texts & TRIGONOMETRIC)
        if (not plain and may_cancel(item, found)) or (is_angle and texts & {r"\pi", "π"}):
            continue
        others = [_texts(other) for other in parts if other is not item]
        for i, token in enumerate(item):
            change = _change(item, i)
            if not token.is_number or change is None:
                continue
            last_only = is_angle or _is_residue(token, found)
            for at in range(len(token.text) - 1 if last_only else 0, len(token.text)):
                if token.text[at] == ".":
                    continue
                new = _digit_of_base(token.text[at]) if _has_base(item, i) else other_digit(token.text[at])
                number = replaced(token.text, at, at + 1, new)
                if not (plain and [number if t is token else t.text for t in content(item)] in others):
                    yield Mutant(change, replaced(answer, token.start, token.end, number))


def other_digit(digit: str) -> str:
    """The digit after it; 8 for 9, so that a number keeps its length."""
    return "8" if digit == "9" else str(int(digit) + 1)


def _digit_of_base(digit: str) -> str:
    """The digit before it, which every base has that has this one; 1 for 0."""
    return "1" if digit == "0" else str(int(digit) - 1)


def _texts(item: Sequence[Token]) -> list[str]:
    return [token.text for token in content(item)]


def _change(item: Sequence[Token], i: int) -> Change | None:
    """What another number in this place is called; None where it may change nothing."""
    if item[i].role == "exponent":
        return "exponent"
    if item[i].role != "index":
        return "digit"
    before = [token for token in item[:i] if token.role != "index" and token.text not in ("_", "{", "[")]
    if not before or before[-1].text == r"\sqrt" or before[-1].text in LOGARITHMS:
        return "index"
    return "index" if before[-1].is_number and len(before[-1].text.lstrip("0")) > 1 else None


def _has_base(item: Sequence[Token], i: int) -> bool:
    """Whether the number is written in a base, which follows it as an index."""
    return item[i].role == "formula" and [token.text for token in item[i + 1 : i + 2]] == ["_"]


def _is_residue(token: Token, found: Sequence[Token]) -> bool:
    """Whether the number is congruent to another: ten more may be the same modulo 10."""
    return any(t.text in (r"\equiv", "≡") for t in found) and not any(
        t.text == r"\pmod" and t.start < token.start for t in found
    )
