"""A record as it was read -> a `Row`, or one for each response in it, by the columns that name our values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hpt_core.data.reading import chat_messages
from hpt_core.data.reading.benchmarks import Form
from hpt_core.data.reading.records import Reject, SourceRow

MARKS = ("keep", "score")
"""What a source may say of its own responses."""
_RIGHT = 0.5
"""Score from which a response counts as marked right: of 0 and 1, of -1 and 1, of shares."""
_MISSING = object()
_INDEX = re.compile(r"-?\d{1,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def published(row: SourceRow, shapes: tuple[Form, ...]) -> SourceRow | Reject:
    """The row read as the first of `shapes` whose columns it has."""
    for form in shapes:
        if _MISSING in (_reach(row.record, form.problem), _reach(row.record, form.answer)):
            continue
        if form.template is None:
            return mapped(row, row.record, {"problem": form.problem, "answer": form.answer})
        try:
            problem, answer = form.template(row.record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return row.reject("not_as_published", f"{type(error).__name__}: {error}"[:200])
        return mapped(row, {"problem": problem, "answer": answer}, {"problem": "problem", "answer": "answer"})
    wanted = " or ".join(f"{form.problem}, {form.answer}" for form in shapes)
    detail = f"wanted: {wanted}; the row has {sorted(row.record)}; name its columns in `columns`"
    return row.reject("missing_column", detail)


def responses(row: SourceRow, columns: dict[str, str]) -> Iterator[SourceRow | Reject]:
    """`row` once for each of the responses in it; what else is a list goes with them, one by one."""
    found = {ours: _reach(row.record, theirs) for ours, theirs in columns.items()}
    if not chat_messages.are_several(found["response"]):
        yield mapped(row, row.record, columns)
        return
    count = len(found["response"])
    lists = {ours for ours, value in found.items() if chat_messages.are_several(value)}
    if uneven := {columns[ours]: len(found[ours]) for ours in sorted(lists) if len(found[ours]) != count}:
        yield row.reject("uneven_lists", f"{columns['response']!r} has {count} responses, and {uneven}")
    elif not count:
        yield row.reject("no_response", f"{columns['response']!r} is an empty list")
    else:
        for i in range(count):
            each = {ours: value[i] if ours in lists else value for ours, value in found.items()}
            told = {theirs: each[ours] for ours, theirs in columns.items() if each[ours] is not _MISSING}
            yield _typed(replace(row, sample=i, record={"sample": i, **told}), each, columns)


def mapped(row: SourceRow, record: dict[str, Any], columns: dict[str, str]) -> SourceRow | Reject:
    """`row` with the values that `columns` (ours -> theirs) finds in `record`."""
    return _typed(row, {ours: _reach(record, theirs) for ours, theirs in columns.items()}, columns)


def _typed(row: SourceRow, found: dict[str, Any], columns: dict[str, str]) -> SourceRow | Reject:
    """`row` with the values that were found, each of the type that its column has."""
    values: dict[str, Any] = {}
    for ours, value in found.items():
        theirs = columns[ours]
        if ours == "score" and value is None:
            continue  # a response that its source has not judged
        if value is None or value is _MISSING:
            return row.reject("missing_column", f"no {theirs!r} ({ours}); the row has {sorted(row.record)}")
        try:
            value = _READ[ours](value)
        except ValueError as error:
            return row.reject("not_a_chat", f"{theirs!r} ({ours}): {error}")
        if not isinstance(value, bool if ours in MARKS else str):
            return row.reject("wrong_type", f"{theirs!r} ({ours}) is {type(value).__name__}: {value!r}"[:200])
        if isinstance(value, str) and _SURROGATE.search(value):
            return row.reject("not_unicode", f"{theirs!r} ({ours}) holds half a surrogate pair")
        values[ours] = value
    return replace(row, values=values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "problem": chat_messages.problem,
    "response": chat_messages.response,
    "answer": lambda value: str(value) if _is_number(value) else value,
    "keep": lambda value: value,
    "score": lambda value: value >= _RIGHT if _is_number(value) else value,
}
"""Our column -> what becomes of a value in it; a value of any other type is left as it is."""


def _reach(row: dict[str, Any], path: str) -> Any:
    """row[path], or the value under the dotted path; _MISSING where there is none.

    A whole number in the path is a place in a list, from its end if below 0: `prompt.-1.content`.
    """
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if isinstance(value, list) and _INDEX.fullmatch(key) and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return _MISSING
    return value
