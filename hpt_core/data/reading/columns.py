"""Turns a record into `SourceRow`s: the values that the source's columns name, one row for each response.

A column map goes from the project's column name to the source's (`name` to `column` in the code below).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from hpt_core.data.reading import chat_messages
from hpt_core.data.reading.benchmarks import RowShape
from hpt_core.data.reading.records import Record, Reject, RowValues, SourceRow

MARKS = ("keep", "score")
"""Columns in which a source judges its own responses."""
_RIGHT_FROM = 0.5
"""A response counts as marked right from this score, on scales of 0 and 1, of -1 and 1, and of shares."""
_MISSING = object()
_INDEX = re.compile(r"-?\d{1,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_by_shape(row: SourceRow, shapes: tuple[RowShape, ...]) -> SourceRow | Reject:
    """The row read by the first of `shapes` whose columns it has."""
    for shape in shapes:
        if _MISSING in (_lookup(row.record, shape.problem), _lookup(row.record, shape.answer)):
            continue
        if shape.template is None:
            return read_by_columns(row, row.record, {"problem": shape.problem, "answer": shape.answer})
        try:
            problem, answer = shape.template(row.record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return row.reject("not_as_published", f"{type(error).__name__}: {error}"[:200])
        values = {"problem": problem, "answer": answer}
        return read_by_columns(row, values, {"problem": "problem", "answer": "answer"})
    expected = " or ".join(f"{shape.problem}, {shape.answer}" for shape in shapes)
    detail = f"wanted: {expected}; the row has {sorted(row.record)}; name its columns in `columns`"
    return row.reject("missing_column", detail)


def read_responses(row: SourceRow, columns: Mapping[str, str]) -> Iterator[SourceRow | Reject]:
    """`row` once for each of its responses; other columns that hold lists are distributed among them."""
    values = {name: _lookup(row.record, column) for name, column in columns.items()}
    if not chat_messages.is_list_of_values(values["response"]):
        yield read_by_columns(row, row.record, columns)
        return
    count = len(values["response"])
    lists = {name for name, value in values.items() if chat_messages.is_list_of_values(value)}
    if uneven := {columns[name]: len(values[name]) for name in sorted(lists) if len(values[name]) != count}:
        yield row.reject("uneven_lists", f"{columns['response']!r} has {count} responses, and {uneven}")
    elif not count:
        yield row.reject("no_response", f"{columns['response']!r} is an empty list")
    else:
        for i in range(count):
            own = {name: value[i] if name in lists else value for name, value in values.items()}
            present = {column: own[name] for name, column in columns.items() if own[name] is not _MISSING}
            yield _with_values(replace(row, sample=i, record={"sample": i, **present}), own, columns)


def read_by_columns(row: SourceRow, record: Record, columns: Mapping[str, str]) -> SourceRow | Reject:
    """`row` with the values of `record` under the project's names in `columns`."""
    values = {name: _lookup(record, column) for name, column in columns.items()}
    return _with_values(row, values, columns)


def _with_values(row: SourceRow, values: Mapping[str, Any], columns: Mapping[str, str]) -> SourceRow | Reject:
    """`row` with `values`, each of the type that its column has, or a reject for the first that is not."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        column = columns[name]
        if name == "score" and value is None:
            continue  # The source has not judged this response.
        if value is None or value is _MISSING:
            return row.reject("missing_column", f"no {column!r} ({name}); the row has {sorted(row.record)}")
        try:
            value = _CONVERT[name](value)
        except ValueError as error:
            return row.reject("not_a_chat", f"{column!r} ({name}): {error}")
        if not isinstance(value, bool if name in MARKS else str):
            return row.reject("wrong_type", f"{column!r} ({name}) is {type(value).__name__}: {value!r}"[:200])
        if isinstance(value, str) and _SURROGATE.search(value):
            return row.reject("not_unicode", f"{column!r} ({name}) holds half a surrogate pair")
        checked[name] = value
    return replace(row, values=cast(RowValues, checked))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "problem": chat_messages.problem_in,
    "response": chat_messages.response_in,
    "answer": lambda value: str(value) if _is_number(value) else value,
    "keep": lambda value: value,
    "score": lambda value: value >= _RIGHT_FROM if _is_number(value) else value,
}
"""Column name -> conversion of a value in it; a value of an unexpected type is returned as it is."""


def _lookup(record: Record, path: str) -> Any:
    """record[path], or the value under the dotted path; _MISSING if there is none.

    A whole number in the path is an index of a list, from its end if negative: `prompt.-1.content`.
    """
    if path in record:
        return record[path]
    value: Any = record
    for key in path.split("."):
        if isinstance(value, list) and _INDEX.fullmatch(key) and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return _MISSING
    return value
