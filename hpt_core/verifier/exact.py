"""Mathematical answers that need no algebra: numbers, sequences of numbers, words. Compared exactly.

`compare` says None unless the text decides the matter; what it leaves open goes to math-verify, a thousand
times as slow. Where the two could differ it follows math-verify (a percentage, a unit and 0.333333 against
1/3 are left open), but for two things that math-verify gets wrong: it reads 4.5e33 as 4.5 * e * 33, and it
compares decimals to six places, so that 1e-8 would equal 2e-8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hpt_core.verifier.extraction import unwrap_text

MAX_LENGTH = 400
"""Characters; longer answers are no plain numbers."""

NEAR = Fraction(1, 10_000)
"""Of the larger one: decimals that are nearer than this may be equal after math-verify's rounding."""

_THIN = re.compile(r"(?<!\\)\\[!,]")  # spaces that may stand within a number
_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|(?<!\\)\\[;: ]|\\q?quad\b|~")
# "2 3" is no 23, while the space in "11,\! 111" and in "\frac 1 2" separates nothing.
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
    value: Fraction
    exact: bool
    """Not a decimal, which may have been rounded."""


@dataclass(frozen=True)
class Sequence:
    brackets: tuple[str, str]
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Word:
    text: str


def compare(answer: str, gold: str) -> bool | None:
    """True where the two are certainly equal, False where they certainly are not, else None."""
    a, b = plain(answer), plain(gold)
    if a == b or unwrap_text(a) == unwrap_text(b):
        return True
    if max(len(a), len(b)) > MAX_LENGTH:
        return None
    ours, theirs = read(a), read(b)
    if ours is None or theirs is None:
        return None
    if isinstance(ours, Number) and isinstance(theirs, Number):
        return _same_number(ours, theirs)
    if isinstance(ours, Sequence) and isinstance(theirs, Sequence):
        return _same_sequence(ours, theirs)
    if isinstance(ours, Word) and isinstance(theirs, Word):
        return ours == theirs
    # A number, several numbers, a word: no two of them are the same thing.
    return False


def plain(text: str) -> str:
    """`text` without the dollar signs around it, a closing full stop, and what LaTeX does not show."""
    text = _THIN.sub("", text.strip()).replace("{,}", ",").replace("\N{MINUS SIGN}", "-")
    text = _SPACING.sub(" ", text).strip()
    if text.startswith("$") and text.endswith("$") and len(text) > 1:
        text = text.strip("$")
    text = _SPACE.sub("", text.replace(", ", ",").strip().removesuffix(".").strip())
    for spelling, usual in _ALIKE:
        text = text.replace(spelling, usual)
    return text


def read(text: str) -> Number | Sequence | Word | None:
    """What the plain `text` denotes, if it is one of the three."""
    word = _WORD.fullmatch(text)
    if word:
        return Word(word[1].strip().casefold())
    return number(text) or _sequence(text)


def number(text: str) -> Number | None:
    """The number that the plain `text` is: 12, 1,234, -\\frac{1}{2}, 1\\frac12, 3/4, 4.5e33, 90^\\circ."""
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
        # Exact although it may be rounded: math-verify does not read it, so there is nobody else to ask.
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
            read = tuple(n for n in numbers if n is not None)
            # [2,2] is one point, and three repeated ones may be any set.
            distinct = len({n.value for n in read}) == len(numbers)
            return Sequence((opening, closing), read) if distinct else None
    return None


def _same_number(a: Number, b: Number) -> bool | None:
    difference = abs(a.value - b.value)
    if difference == 0:
        return True
    if (a.exact and b.exact) or difference > NEAR * max(abs(a.value), abs(b.value)):
        return False
    return None


def _same_sequence(a: Sequence, b: Sequence) -> bool | None:
    """Under the same brackets; whether (1,2) is 1,2 or [1,2], math-verify says."""
    if a.brackets != b.brackets:
        return None
    ours, theirs = a.numbers, b.numbers
    if a.brackets in (("", ""), (r"\{", r"\}")):  # in any order
        ours, theirs = (tuple(sorted(n, key=lambda number: number.value)) for n in (ours, theirs))
    if len(ours) != len(theirs):
        return False
    verdicts = [_same_number(x, y) for x, y in zip(ours, theirs, strict=True)]
    if all(verdicts):
        return True
    return False if False in verdicts else None
