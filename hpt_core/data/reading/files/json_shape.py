"""Which key of a JSON file that is one object holds the rows, found by looking through the whole of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hpt_core.data.reading.files.json_text import JsonText, json_text
from hpt_core.data.reading.files.location import Location
from hpt_core.errors import InputError

_LOOKED_AT = 100
"""Keys of an object whose values are looked into; of the others, only the kind is counted."""
_SHOWN = 10
"""Keys that a message shows."""
_TURNS = ({"role", "content"}, {"from", "value"})
_BY_ROWS = "pandas: to_json(path, orient='records', lines=True); datasets: to_json(path)"


@dataclass
class Shape:
    """What stands at a place of a JSON text."""

    kind: str
    """[ for an array, { for an object, else the first character of the value."""
    entries: Counter[str] = field(default_factory=Counter)
    """Kind -> items of the array, or values of the object."""
    keys: dict[str, Shape] = field(default_factory=dict)
    """The first keys of an object, or of the first object of an array, and the shapes of their values."""

    @property
    def holds_rows(self) -> bool:
        """Whether it is an array of objects that are not the turns of a chat."""
        is_chat = any(turn <= self.keys.keys() for turn in _TURNS)
        return self.kind == "[" and set(self.entries) == {"{"} and not is_chat


def root_of(path: Location, setting: str) -> str | None:
    """The dotted path of the rows in the JSON object that `path` holds; None where objects are the rows.

    Raises InputError that shows the keys to choose from.
    """
    with json_text(path, setting) as text:
        shape = _shape(text)
        if text.peek():
            return None  # Objects one after the other, each over several lines.
    roots = list(_arrays_of_rows(shape, ""))
    highest = [root for root in roots if root.count(".") == min(root.count(".") for root in roots)]
    if len(highest) == 1:
        return highest[0]
    shown = list(shape.keys)[:_SHOWN]
    by_key = "{" in shape.entries and len(shape.entries) == 1 < len(shape.keys)
    if highest or by_key:
        choices = [f"`root: {root}`" for root in highest[:_SHOWN]]
        choices += ["`root: .` if each key has a row"] if by_key else []
        raise InputError(
            f"{path}: one object with the keys {shown}; say beside `file` where its rows are: "
            f"{' or '.join(choices)}; write a table by columns by rows ({_BY_ROWS}), or correct {setting}"
        )
    if "[" in shape.entries and len(shape.entries) == 1 < len(shape.keys):
        raise InputError(
            f"{path}: one object with an array for each of {shown}, as of a table by columns; write it by "
            f"rows ({_BY_ROWS}), or correct {setting}"
        )
    return None


def _arrays_of_rows(shape: Shape, prefix: str) -> Iterator[str]:
    for key, value in shape.keys.items():
        if value.holds_rows and "." not in key:
            yield prefix + key
        elif value.kind == "{":
            yield from _arrays_of_rows(value, f"{prefix}{key}.")


def _shape(text: JsonText) -> Shape:
    shape = Shape(text.peek())
    if shape.kind == "{":
        for key in text.members():
            shape.entries[text.peek()] += 1
            if len(shape.keys) < _LOOKED_AT:
                shape.keys[key] = _shape(text)
            else:
                text.skip()
    elif shape.kind == "[":
        for number in text.items():
            shape.entries[text.peek()] += 1
            if number:
                text.skip()
            else:
                shape.keys = _shape(text).keys
    else:
        text.value()
    return shape
