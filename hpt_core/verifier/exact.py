"""Exact comparison of mathematical answers that need no algebra: numbers, sequences of numbers, words.

`compare` returns None for pairs that it cannot decide; they go to math-verify, which takes a thousand times
as long. Where the two could disagree, `compare` leaves the decision to math-verify (a percentage, a unit,
0.333333 against 1/3), except where math-verify is wrong: it reads 4.5e33 as 4.5 * e * 33, and it compares
decimals to six places, so that 1e-8 equals 2e-8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hpt_core.verifier.extraction import unwrap_text

MAX_LENGTH = 400
"""Largest number of characters of an answer that is compared here; a longer one is no plain number."""

NEAR = Fraction(1, 10_000)
"""Relative difference below which two decimals may be equal after math-verify's rounding."""

_THIN = re.compile(r"(?<!\\)\\[!,]")  # spaces that may occur within a number
_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|(?<!\\)\\[;: ]|\\q?quad\b|~")
# "2 3" is not 23, while the space in "11,\! 111" and in "\frac 1 2" has no meaning.
_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_ALIKE = ((r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\mbox{", r"\text{"), (r"\textbf{", r"\text{"))

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,100})"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?) (?:\\?\$)?
    (?: (?P<whole>{_DIGITS})?
        \\frac (?: \{{(?P<above>-?\d{{1,100}})\}} | (?P<above_digit>\d) )
               (?: \{{(?P<below>\d{{1,100}})\}} | (?P<below_digit>\d) )
      | (?P<over>\d{{1,100}}) / (?P<under>\d{{1,100}})
      | (?P<integer>{_DIGITS})? (?: \.(?P<decimals>\d{{1,100}})? )?
        (?: (?: [eE] | (?:\\times|\\cdot) 10\^ ) (?P<power> [-+]?\d{{1,3}} | \{{[-+]?\d{{1,3}}\}} ) )?
    ) (?: \^ \{{? \\circ \}}? )?""",
    re.VERBOSE,
)
_WORD = re.compile(r"\\text\{\(?([A-Za-z][A-Za-z ]*)\)?\.?\}")
_BRACKETS = (("(", ")"), ("(", "]"), ("[", ")"), ("[", "]"), (r"\{", r"\}"), ("", ""))


@dataclass(frozen=True)
class Number:
    """An answer that is one number."""

    value: Fraction
    exact: bool
    """False for a decimal, which may have been rounded."""


@dataclass(frozen=True)
class Sequence:
    """An answer that is several distinct numbers: a point, an interval, a set or a plain list."""

    brackets: tuple[str, str]
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Word:
    """An answer that is text."""

    text: str


def compare(answer: str, gold: str) -> bool | None:
    """True if the two are certainly equal, False if they are certainly unequal, else None."""
    a, b = plain(answer), plain(gold)
    if a == b or unwrap_text(a) == unwrap_text(b):
        return True
    if max(len(a), len(b)) > MAX_LENGTH:
        return None
    value, gold_value = read(a), read(b)
    if value is None or gold_value is None:
        return None
    if isinstance(value, Number) and isinstance(gold_value, Number):
        return _same_number(value, gold_value)
    if isinstance(value, Sequence) and isinstance(gold_value, Sequence):
        return _same_sequence(value, gold_value)
    if isinstance(value, Word) and isinstance(gold_value, Word):
        return value == gold_value
    # Values of different types are unequal.
    return False


def plain(text: str) -> str:
    """`text` without enclosing dollar signs, a final full stop, and LaTeX commands for spacing."""
    text = _THIN.sub("", text.strip()).replace("{,}", ",").replace("\N{MINUS SIGN}", "-")
    text = _SPACING.sub(" ", text).strip()
    if text.startswith("$") and text.endswith("$") and len(text) > 1:
        text = text.strip("$")
    text = _SPACE.sub("", text.replace(", ", ",").strip().removesuffix(".").strip())
    for spelling, usual in _ALIKE:
        text = text.replace(spelling, usual)
    return text


def read(text: str) -> Number | Sequence | Word | None:
    """The value of the plain `text`, if it is a number, a sequence of numbers or a word."""
    word = _WORD.fullmatch(text)
    if word:
        return Word(word[1].strip().casefold())
    return number(text) or _sequence(text)


def number(text: str) -> Number | None:
    """The plain `text` as a number: 12, 1,234, -\\frac{1}{2}, 1\\frac12, 3/4, 4.5e33, 90^\\circ."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    above, below = match["above"] or match["above_digit"], match["below"] or match["below_digit"]
    if above:
        if int(below) == 0 or (match["whole"] and above.startswith("-")):
            return None
        return Number(sign * (_integer(match["whole"]) + Fraction(int(above), int(below))), True)
    if match["over"]:
        return (
            Number(Fraction(sign * int(match["over"]), int(match["under"])), True)
            if int(match["under"])
            else None
        )
    decimals = match["decimals"] or ""
    if not match["integer"] and not decimals:
        return None
    value = _integer(match["integer"]) + Fraction(int(decimals or "0"), 10 ** len(decimals))
    if match["power"]:
        # This form counts as exact, although the decimal may be rounded, because math-verify cannot read it.
        return Number(sign * value * Fraction(10) ** int(match["power"].strip("{}")), True)
    return Number(sign * value, not decimals)


def _integer(digits: str | None) -> int:
    return int((digits or "0").replace(",", ""))


def _sequence(text: str) -> Sequence | None:
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing):
            inside = text[len(opening) : len(text) - len(closing)]
            numbers = [number(part) for part in inside.split(",")]
            if len(numbers) < 2:
                return None
            parsed = tuple(n for n in numbers if n is not None)
            # math-verify decides if a part is no number or a number repeats (in a set it counts once).
            distinct = len({n.value for n in parsed}) == len(numbers)
            return Sequence((opening, closing), parsed) if distinct else None
    return None


def _same_number(a: Number, b: Number) -> bool | None:
    difference = abs(a.value - b.value)
    if difference == 0:
        return True
    if (a.exact and b.exact) or difference > NEAR * max(abs(a.value), abs(b.value)):
        return False
    return None


def _same_sequence(a: Sequence, b: Sequence) -> bool | None:
    """Compare sequences with the same brackets; math-verify decides whether (1,2) equals 1,2 or [1,2]."""
    if a.brackets != b.brackets:
        return None
    numbers_a, numbers_b = a.numbers, b.numbers
    if a.brackets in (("", ""), (r"\{", r"\}")):  # The order of a set has no meaning.
        numbers_a, numbers_b = (
            tuple(sorted(numbers, key=lambda number: number.value)) for numbers in (numbers_a, numbers_b)
        )
    if len(numbers_a) != len(numbers_b):
        return False
    verdicts = [_same_number(x, y) for x, y in zip(numbers_a, numbers_b, strict=True)]
    if all(verdicts):
        return True
    return False if False in verdicts else None
