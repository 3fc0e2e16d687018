"""What a value of a row stands for, by `map` and `right_from` of its column."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hpt_core.config import Column
from hpt_core.data.reading.values import Unreadable


def judged(value: Any, column: Column) -> Any:
    """Whether a number reaches `right_from`; a mark without that option is returned as it is.

    Raises Unreadable for a text that is no number.
    """
    if column.right_from is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not value.strip():
        return None
    number = number_in(value)
    if number is None:
        raise Unreadable("wrong_type", f"{value!r} is no number, which `right_from` compares"[:200])
    return number >= Fraction(column.right_from)


def number_in(value: Any) -> Fraction | None:
    """The number that a value is or spells: 0.97, "0.97", "97%", "7/8"."""
    if is_number(value):
        return Fraction(value)
    if not isinstance(value, str):
        return None
    text, percent = value.strip().removesuffix("%"), value.strip().endswith("%")
    try:
        return Fraction(text.strip()) / (100 if percent else 1)
    except (ValueError, ZeroDivisionError):
        return None


def mapped(value: Any, column: Column) -> Any:
    """What `map` says that a value stands for. Raises Unreadable for a value that it lacks."""
    if column.map is None:
        return value
    meanings = {_spelled(key): meaning for key, meaning in column.map.items()}
    if (key := _spelled(value)) not in meanings:
        raise Unreadable("not_in_map", f"{value!r} is not in `map`, which has {list(column.map)}"[:200])
    return meanings[key]


def _spelled(value: Any) -> str:
    """One spelling of a value, for the comparison with the keys of `map`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
