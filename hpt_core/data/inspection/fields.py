"""A field of sampled rows: a value that `columns` of a source can name, under the path it has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpt_core.data.reading.values import list_in, parsed

_SAYS_NOTHING = {"value", "text", "content"}
"""Names of keys that say what holds a value and not what it is."""
EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True)
class Field:
    """A column, or a value within an object or list of a column under its dotted path."""

    path: str
    values: tuple[Any, ...]
    """One for each sampled row; None where the row has null or lacks the field. JSON text is decoded."""
    json: bool = False
    """Whether the column holds JSON text."""

    @cached_property
    def present(self) -> tuple[Any, ...]:
        """The values that are neither null nor empty."""
        return tuple(value for value in self.values if value not in EMPTY)

    @property
    def nulls(self) -> int:
        return sum(value is None for value in self.values)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The values that are texts, without the blank ones."""
        return tuple(value for value in self.present if isinstance(value, str) and value.strip())

    @property
    def name(self) -> str:
        """The part of the path that says what the value is: `ground_truth` of `1.ground_truth.value`."""
        parts = [part for part in self.path.split(".") if not part.lstrip("-").isdigit() and part != "*"]
        telling = [part for part in parts if part.lower() not in _SAYS_NOTHING]
        return (telling or parts or [self.path])[-1]

    @property
    def type_name(self) -> str:
        """The types of the values in words, the commonest first."""
        names = [type_of(value) for value in self.values if value is not None]
        common = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
        return ("JSON text: " if self.json else "") + (" or ".join(common[:3]) or "null")


def is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def type_of(value: Any) -> str:
    """The type of a value in words."""
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int):
        return "whole number"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "text"
    if is_list_of_objects(value):
        return f"list of {{{', '.join(_keys(value))}}}"
    if isinstance(value, list):
        inner = " or ".join(dict.fromkeys(type_of(item) for item in value))
        return f"list of {inner}" if inner else "empty list"
    if isinstance(value, dict):
        return f"object of {len(value)} keys"
    return type(value).__name__


def _keys(items: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for item in items for key in item))


def decoded(text: str) -> Any:
    """The object or list that `text` holds as JSON, as the reader enters it; None for another text."""
    held = parsed(text)
    if isinstance(held, dict):
        return held or None
    held = list_in(text)
    return held if isinstance(held, list) else None
