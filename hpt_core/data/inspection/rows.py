"""The fields of a data set's rows: columns, the keys of their objects, of turns and of items of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hpt_core.data.inspection.chats import chat_in
from hpt_core.data.inspection.fields import Field, decoded, is_list_of_objects
from hpt_core.data.reading.chat_messages import ROLE_KEYS, TEXT_KEYS, THINKING_KEYS
from hpt_core.data.reading.records import Record

MOST_KEYS = 40
"""An object with more keys is a table of its own, such as scores by model; its keys are no fields."""
DEEPEST = 6
TURNS = 3
"""Turns of a chat whose further keys are fields, such as `messages.0.info.reference_answer`."""


def fields_of(records: Sequence[Record]) -> list[Field]:
    """The fields of all records, in the order in which they first occur."""
    rows = [dict(_leaves("", record, DEEPEST)) for record in records]
    found = []
    for path in dict.fromkeys(path for row in rows for path in row):
        values = [row.get(path, (None, False)) for row in rows]
        field = Field(path, tuple(value for value, _ in values), any(json for _, json in values))
        found += [field, *_within(field)]
    return [field for field in found if not _is_parent(field, found)]


def _is_parent(field: Field, fields: Sequence[Field]) -> bool:
    """Whether a field is an object in some rows and null in the others, so that its keys stand for it."""
    return not field.present and any(other.path.startswith(f"{field.path}.") for other in fields)


def _leaves(path: str, value: Any, depth: int, json: bool = False) -> Iterator[tuple[str, tuple[Any, bool]]]:
    """The values below `value` that are no objects: (path, (value, whether it was JSON text))."""
    held = decoded(value) if isinstance(value, str) and path else None
    if held is not None:
        yield from _leaves(path, held, depth, json=True)
    elif isinstance(value, dict) and 0 < len(value) <= MOST_KEYS and depth:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item, depth - 1)
    elif path:
        yield path, (value, json)


def _within(field: Field) -> Iterator[Field]:
    """The fields below a list of objects: of a chat's single turns, or of all items (`responses.*.text`)."""
    lists = [value if is_list_of_objects(value) else [] for value in field.values]
    if not any(lists):
        return
    chat = chat_in(field)
    if chat is None:
        keys = dict.fromkeys(key for items in lists for item in items for key in item)
        for key in keys:
            values = tuple([item.get(key) for item in items] if items else None for items in lists)
            if not any(isinstance(item, dict | list) for value in values for item in value or ()):
                yield Field(f"{field.path}.*.{key}", values)
        return
    spoken = {*ROLE_KEYS, *TEXT_KEYS, *THINKING_KEYS, *map(str, chat.turns.values())}
    rows = [
        {
            path: value
            for number, turn in enumerate(items[:TURNS])
            for path, (value, _) in _leaves(
                f"{field.path}.{number}", {k: v for k, v in turn.items() if k not in spoken}, DEEPEST
            )
        }
        for items in lists
    ]
    for path in dict.fromkeys(
        path for row in rows for path in row if path.count(".") > field.path.count(".") + 1
    ):
        yield Field(path, tuple(row.get(path) for row in rows))
