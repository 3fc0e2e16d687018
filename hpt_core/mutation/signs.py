"""Other signs in a mathematical answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpt_core.mutation.tokens import (
    MINUS,
    OPENING,
    SIGNS,
    TRIGONOMETRIC,
    Mutant,
    Token,
    content,
    is_plain,
    items,
    may_cancel,
    replaced,
)

_PLUS_MINUS = frozenset((r"\pm", r"\mp", "±", "∓"))
_PERIODS = frozenset((r"\pi", "π", r"\circ", "°"))
_BEGIN_A_VALUE = frozenset((r"\frac", r"\dfrac", r"\tfrac", r"\sqrt", r"\infty", r"\$", "√", "∞"))


def mutants(answer: str, found: Sequence[Token]) -> Iterator[Mutant]:
    """The answer with one sign turned, set or left out.

    Left alone: items that hold a plus-minus, or a zero or a one that `may_cancel`; congruences and ratios;
    angles (the sines of x - pi and x + pi are the same); and a sign at the start of brackets: (-2)^2 is 2^2.
    """
    if any(token.text in (r"\pmod", r"\equiv", "≡", ":") for token in found):
        return
    parts = items(found)
    for item in parts:
        plain, texts = is_plain(item), {token.text for token in item}
        cancels = any(token.is_zero for token in item) if plain else may_cancel(item, found)
        if not texts - SIGNS:
            continue  # The hyphen of a unit: N-m.
        if cancels or texts & _PLUS_MINUS or (texts & TRIGONOMETRIC and texts & _PERIODS):
            continue
        for i, token in enumerate(item):
            if token.text in SIGNS and token.role != "index":
                before = item[i - 1].text if i else ""
                if plain or before not in ("(", "["):
                    yield Mutant("sign", replaced(answer, token.start, token.end, _other(item, i)))
        yield from _leading(answer, item, plain, alone=len(parts) == 1)


def _other(item: Sequence[Token], i: int) -> str:
    """The sign that takes the place of token `i`; none in place of a minus that follows no term."""
    if item[i].text == "+":
        return "-"
    is_binary = i > 0 and item[i - 1].text not in OPENING | {"^", "e", "E"}
    return "+" if is_binary and item[i].text in MINUS else ""


def _leading(answer: str, item: Sequence[Token], plain: bool, alone: bool) -> Iterator[Mutant]:
    """A minus in front of a value that has no sign; in front of a sum it is that of the first term."""
    first = content(item)[0] if content(item) else None
    if first is None or not (plain or (alone and not any(token.is_letter for token in item))):
        return
    within_a_number = re.search(r"\d,$", answer[: first.start]) and len(first.text) == 3
    if not within_a_number and (first.is_number or first.text in _BEGIN_A_VALUE):
        yield Mutant("sign", replaced(answer, first.start, first.start, "-"))
