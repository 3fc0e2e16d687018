"""The same value otherwise: numbers with separators or zeros, fractions, sets, without a name or a unit.

Each function takes a whole answer, and gives None or the answer itself where it has nothing to change.
"""

from __future__ import annotations

import re

from hpt_core.mutation.tokens import is_plain, items, tokens
from hpt_core.mutation.units import is_unit

_INTEGER = re.compile(r"(-?)(\d{4,15})")
_GROUPED = re.compile(r"(-?\d{1,3})((?:(?:,|\{,\}|,\\!\s?|\\,)\d{3})+)")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_WHOLE = re.compile(r"-?\d{1,15}")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")
_SLASH = re.compile(r"(-?)(\d+)/(\d+)")
_SET = re.compile(r"\\\{(.+)\\\}", re.DOTALL)


def slash(answer: str) -> str | None:
    """A whole answer that is a fraction of integers, with a slash or with LaTeX."""
    if match := _FRACTION.fullmatch(answer):
        return f"{match[1]}{match[2]}/{match[3]}"
    match = _SLASH.fullmatch(answer)
    return rf"{match[1]}\frac{{{match[2]}}}{{{match[3]}}}" if match else None


def separators(answer: str) -> str | None:
    """An integer with thousands separators, or without."""
    if match := _INTEGER.fullmatch(answer):
        return match[1] + f"{int(match[2]):,}" if match[2][0] != "0" else None
    match = _GROUPED.fullmatch(answer)
    return match[1] + re.sub(r"[^\d]", "", match[2]) if match else None


def latex_separators(answer: str) -> str | None:
    match = _INTEGER.fullmatch(answer)
    return match[1] + f"{int(match[2]):,}".replace(",", "{,}") if match and match[2][0] != "0" else None


def trailing_zero(answer: str) -> str | None:
    if _DECIMAL.fullmatch(answer):
        return answer + "0"
    return answer + ".0" if _WHOLE.fullmatch(answer) else None


def leading_zero(answer: str) -> str | None:
    if re.fullmatch(r"-?0\.\d+", answer):
        return answer.replace("0.", ".", 1)
    return answer.replace(".", "0.", 1) if re.fullmatch(r"-?\.\d+", answer) else None


def set_order(answer: str) -> str | None:
    """A set of numbers in the other order."""
    match = _SET.fullmatch(answer)
    if match is None or not all(is_plain(item) for item in items(tokens(match[1]))):
        return None
    return r"\{" + ", ".join(reversed([part.strip() for part in match[1].split(",")])) + r"\}"


def without_name(answer: str) -> str | None:
    """The value of the one unknown, x = 5."""
    match = re.fullmatch(r"[a-z]\s*=\s*(-?[\d.]+)", answer)
    return match[1] if match else None


def without_unit(answer: str) -> str | None:
    """A number without its unit, which an answer may leave out."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:\\[ ,;])?\s*(\\[a-z]+\s*\{[^{}]*\})(?:\^\{?\d\}?)?", answer)
    return match[1] if match and is_unit(match[2]) else None
