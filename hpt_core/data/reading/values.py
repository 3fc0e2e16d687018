"""Values of a record, by the paths and templates of `hpt_core.config.columns`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hpt_core.config.columns import (
    DROPPED,
    Column,
    Placeholder,
    is_template,
    optional_path,
    path_keys,
    template_parts,
)
from hpt_core.data.reading.records import Record

MISSING: Any = object()
"""What a path leads to where the record has nothing there."""

_INDEX = re.compile(r"-?\d{1,9}")
_SPACES = (r"\s+", r"\s*\n\s*", r"\s*\n\s*\n\s*")
_LIST = re.compile(r"""\[\s*["'{\[]""")


class Unreadable(ValueError):
    """A value cannot be read as its field; `reason` is the name under which the row is quarantined."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def value_of(column: Column, record: Record, text_of: Callable[[Any], Any]) -> Any:
    """What `column` reads of the record, before `unwrap` and `map`; MISSING if there is nothing.

    text_of: the text in a value of a template that is no text, such as a chat.

    Raises Unreadable for a template whose values do not fit together.
    """
    if is_template(column.read):
        return _filled(column, record, text_of)
    value = value_at(record, optional_path(column.read).path)
    if value is MISSING and column.read in record:
        value = record[column.read]  # The question mark is a part of the column's name.
    return value if column.join is None else joined(value, column)


def value_at(record: Any, path: str) -> Any:
    """record[path], or what the keys of the path lead to; MISSING if there is nothing.

    A whole number is an index of a list, from its end if negative; `*` is each item of a list. A text that
    holds a JSON object or list is entered like one.
    """
    if isinstance(record, dict) and path in record:
        return record[path]
    return _entered(record, path_keys(path))


def _entered(value: Any, keys: Sequence[str]) -> Any:
    if not keys:
        return value
    value = parsed(value)
    key, rest = keys[0], keys[1:]
    if isinstance(value, dict):
        whole = ".".join(keys)
        if whole in value:
            return value[whole]
        return _entered(value[key], rest) if key in value else MISSING
    if isinstance(value, list) and key == "*":
        return [_entered(item, rest) for item in value]
    if isinstance(value, list) and _INDEX.fullmatch(key) and -len(value) <= int(key) < len(value):
        return _entered(value[int(key)], rest)
    return MISSING


def parsed(value: Any) -> Any:
    """The object or list that a text holds as JSON or as Python prints it; other values as they are."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        held = json.loads(value)
    except (ValueError, RecursionError):
        try:
            held = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return held if isinstance(held, dict | list) else value


def list_in(value: Any) -> Any:
    """The list of texts or of objects that a text holds as JSON; other values as they are.

    A list of numbers stays a text, since [0, 1] is an interval.
    """
    if not isinstance(value, str) or not _LIST.match(value.lstrip()):
        return value
    held = parsed(value)
    kinds = {type(item) for item in held} if isinstance(held, list) else set()
    return held if kinds in ({str}, {dict}) else value


def joined(value: Any, column: Column) -> Any:
    """The texts of a list, and of lists in it, as one text; a value that is no list as it is."""
    held = parsed(value)
    if not isinstance(held, list) or column.join is None:
        return value
    return column.join.join(_texts(held, column.read))


def _texts(items: Sequence[Any], path: str) -> Iterator[str]:
    for number, item in enumerate(items):
        if isinstance(item, list):
            yield from _texts(item, path)
        elif (text := _as_text(item)) is None:
            kind = "missing" if item is MISSING or item is None else type(item).__name__
            raise Unreadable("wrong_type", f"item {number} of {path!r} is {kind}; `join` joins texts only")
        else:
            yield text


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else None


def _filled(column: Column, record: Record, text_of: Callable[[Any], Any]) -> Any:
    """The template with its values; a list of texts where a `*` gives a value lists."""
    parts = template_parts(column.read)
    values = [
        _placed(part, column, record, text_of) if isinstance(part, Placeholder) else part for part in parts
    ]
    lengths = {len(value) for value in values if isinstance(value, list)}
    if not lengths:
        return _text(parts, values)
    if len(lengths) > 1:
        raise Unreadable(
            "uneven_lists", f"the lists in {column.read!r} have different lengths: {sorted(lengths)}"
        )
    return [
        _text(parts, [value[i] if isinstance(value, list) else value for value in values])
        for i in range(lengths.pop())
    ]


def _placed(
    part: Placeholder, column: Column, record: Record, text_of: Callable[[Any], Any]
) -> str | list[str]:
    """The text of a placeholder, or a text for each item of a list."""
    value = value_at(record, part.path)
    if value is MISSING and part.optional:
        value = record.get(f"{part.path}?")
    if column.join is not None:
        value = joined(value, column)
    if isinstance(value, list) and "*" in path_keys(part.path):
        return [_one_text(item, part, record, text_of) for item in value]
    return _one_text(value, part, record, text_of)


def _one_text(value: Any, part: Placeholder, record: Record, text_of: Callable[[Any], Any]) -> str:
    if value is MISSING or value is None:
        if part.optional:
            return ""
        state = "is null" if value is None else "is not in the row"
        raise Unreadable(
            "missing_column",
            f"{part.path!r} {state}, which has {sorted(record)}; write {{{part.path}?}} if it may be missing",
        )
    value = text_of(value)
    if isinstance(value, list):
        raise Unreadable(
            "wrong_type",
            f"{part.path!r} is a list of {len(value)}; write {{{part.path}.*}} for one text of each, "
            f"{{{part.path}.0}} for the first, or add `join`",
        )
    text = _as_text(value)
    if text is None:
        raise Unreadable("wrong_type", f"{part.path!r} is {type(value).__name__}: {value!r}"[:200])
    return text


def _text(parts: Sequence[str | Placeholder], values: Sequence[Any]) -> str:
    """The filled template. An empty value takes the white space before it along, so that no blank line is
    left where it would stand."""
    text = ""
    for part, value in zip(parts, values, strict=True):
        if isinstance(part, Placeholder) and not value.strip():
            text = text.rstrip()
        else:
            text += value
    return text.strip()


def unwrapped(text: str, template: str) -> str:
    """The part of `text` that the template of `unwrap` keeps. Raises Unreadable if the text does not fit."""
    parts = template_parts(template)
    pattern = "".join(
        _literal_pattern(part) if isinstance(part, str) else ".*?" if part.path == DROPPED else "(?P<kept>.+)"
        for part in parts
    )
    found = re.fullmatch(rf"\s*{pattern}\s*", text, re.DOTALL)
    if found is None:
        raise Unreadable(
            "not_wrapped", f"the text does not fit `unwrap`; it begins {text[:60]!r} and ends {text[-60:]!r}"
        )
    return found["kept"].strip()


def _literal_pattern(text: str) -> str:
    """A pattern for the text: a blank line fits blank lines, a line break line breaks, a space any space."""
    pieces = re.split(r"(\s+)", text)
    return "".join(
        _SPACES[min(piece.count("\n"), 2)] if piece.isspace() else re.escape(piece) for piece in pieces
    )
