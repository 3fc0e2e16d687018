"""Units of measurement and, for each, another one of which the same number is something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpt_core.mutation.tokens import Mutant, Token, replaced

_OTHER = {
    "mm": "cm", "cm": "mm", "dm": "m", "m": "km", "km": "m", "in": "ft", "ft": "in", "mi": "ft", "yd": "ft",
    "inch": "foot", "inches": "feet", "foot": "inch", "feet": "inches", "yard": "mile", "yards": "miles",
    "mile": "yard", "miles": "yards", "meter": "kilometer", "meters": "kilometers", "metres": "kilometres",
    "centimeter": "meter", "centimeters": "meters", "kilometer": "meter", "kilometers": "meters",
    "s": "min", "sec": "min", "min": "h", "second": "minute", "seconds": "minutes", "minute": "hour",
    "minutes": "hours", "hour": "minute", "hours": "minutes", "hr": "min", "hrs": "min", "h": "min",
    "day": "week", "days": "weeks", "week": "day", "weeks": "days", "month": "year", "months": "years",
    "year": "month", "years": "months", "g": "kg", "kg": "g", "mg": "g", "gram": "kilogram",
    "grams": "kilograms", "kilogram": "gram", "kilograms": "grams", "pound": "ounce", "pounds": "ounces",
    "lb": "oz", "oz": "lb", "ounce": "pound", "ounces": "pounds", "ton": "pound", "tons": "pounds",
    "dollar": "cent", "dollars": "cents", "cent": "dollar", "cents": "dollars", "euro": "dollar",
    "euros": "dollars", "liter": "gallon", "liters": "gallons", "gallon": "liter", "gallons": "liters",
    "ml": "l", "degree": "radian", "degrees": "radians", "radian": "degree", "radians": "degrees",
    "mph": "m/s", "km/h": "m/s", "m/s": "km/h", "J": "eV", "eV": "J", "erg": "J", "N": "dyne", "W": "J",
    "Hz": "s", "K": "J", "Pa": "bar", "A": "V", "V": "A",
}  # fmt: skip
_HALVES_OF_A_DAY = {"a.m.": "p.m.", "p.m.": "a.m.", "am": "pm", "pm": "am", "AM": "PM", "PM": "AM"}
_CHANGED = _OTHER | _HALVES_OF_A_DAY
_BESIDE = frozenset(("square", "cubic", "sq", "per", "of"))
_UNIT = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join(sorted(map(re.escape, _CHANGED), key=len, reverse=True))})(?![A-Za-z])"
)
_NUMBER_AND_UNIT = re.compile(r"[-+]?[\d.,:]+ ?[A-Za-z.]+(?: [A-Za-z]+)?")


def mutants(answer: str, found: Sequence[Token]) -> Iterator[Mutant]:
    """The answer with another unit in one place, unless it has no number but 0."""
    if not re.search(r"[1-9]", answer):
        return
    for token in found:
        if token.role == "text" and (other := other_unit(token.text)):
            yield Mutant("unit", replaced(answer, token.start, token.end, other))
    if _NUMBER_AND_UNIT.fullmatch(answer) and (other := other_unit(answer)):
        yield Mutant("unit", other)


def other_unit(text: str) -> str | None:
    """`text` with its first unit replaced by another; None if it has none, or words that are no units."""
    unit = _UNIT.search(text)
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", text))
    if unit is None or not all(word in _BESIDE or _UNIT.search(word) for word in words):
        return None
    return replaced(text, unit.start(), unit.end(), _CHANGED[unit.group()])


def is_unit(text: str) -> bool:
    """Whether `text` is a command around one unit of measurement, which an answer may leave out."""
    match = re.fullmatch(r"\\(?:text|mathrm|mbox|textrm)\s*\{[\s~]*([A-Za-z/]+)\s*\}", text)
    return match is not None and match[1] in _OTHER
