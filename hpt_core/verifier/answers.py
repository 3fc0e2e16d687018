"""Extracted answers as values (a number, a choice letter or a normalised text) that compare by equality."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_NUMBER = re.compile(r"(?<![A-Za-z\d.])[-+]?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+|(?=\.\d))(?:\.\d+)?")
_FRACTION = re.compile(r"([-+]?\d{1,100})\s{0,3}/\s{0,3}(\d{1,100})")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{([-+]?\d{1,100})\}\{(\d{1,100})\}")
_ASIDE = re.compile(r"[.;!?](?:\s|$)|\(|,\s")
_MAX_DIGITS = 100  # Python refuses to parse integers of thousands of digits, and no answer has them.
_NOISE = str.maketrans(
    {"$": None, "\N{MINUS SIGN}": "-", "\\": " ", "{": " ", "}": " ", "*": " ", "€": None, "£": None}
)

_LETTER = re.compile(r"[\s*_$\\(\[]*([A-Za-z])(?=$|[\s).:,;\]*$}\\])")
_ANOTHER = re.compile(r"\b[A-HJ-Z]\b")
_LETTER_MACRO = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s{0,3}\{")


def number(text: str) -> Fraction | None:
    """The single number in `text`, without currency, unit and percent sign.

    None if there is no number or more than one: "5 hours and 30 minutes", "1/2 of 30". An equation counts as
    its right-hand side. If the whole text does not hold a single number, its first clause is tried alone
    ("72 (48 + 24)" is 72).
    """
    if "=" in text:
        text = text.rpartition("=")[2]
    text = text.replace("{,}", ",").replace(r"\!", "").replace(r"\,", "").replace(r"\$", "")
    text = _LATEX_FRACTION.sub(r" \1/\2 ", text).translate(_NOISE).strip()
    value = _sole_number(text)
    return value if value is not None else _sole_number(_ASIDE.split(text, maxsplit=1)[0])


def _sole_number(text: str) -> Fraction | None:
    fraction = _FRACTION.fullmatch(text.strip(" ."))
    if fraction:
        return Fraction(int(fraction[1]), int(fraction[2])) if int(fraction[2]) else None
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1 or len(numbers[0]) > _MAX_DIGITS:
        return None
    return Fraction(numbers[0].replace(",", ""))


def letter(text: str) -> str | None:
    """The choice that `text` names (C, (C), C. Paris, \\text{(C)}), in upper case. None if it names none."""
    text = _LETTER_MACRO.sub("", text)
    match = _LETTER.match(text)
    if match is None:
        return None
    rest = text[match.end() :].strip(" \t\n)].:,;*_$}\\")
    closed = text[match.end() : match.end() + 1] in (")", ".", ":", "]")
    # "A dog" and "a dog" name no choice, and "B and C" names two, but "C because ..." names C.
    if rest and not closed and (match[1] not in "BCDEFGHJKLMNOPQRSTUVWXYZ" or _ANOTHER.search(rest)):
        return None
    return match[1].upper()


def normal(text: str) -> str:
    """`text` under NFKC, case-folded, with single spaces and without a final full stop."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.removesuffix(".").rstrip()
