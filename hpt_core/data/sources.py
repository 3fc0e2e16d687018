"""Rows of a source under our column names, whatever holds them.

A row that cannot be read becomes a `Reject` with its file, line and reason; only a source that
cannot be read at all raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data import turns
from hpt_core.data.benchmarks import Form, forms
from hpt_core.data.formats import BadLine, Raw, file_rows, hub_rows, task_rows
from hpt_core.data.remote import guarded, located
from hpt_core.data.tables import quarantined
from hpt_core.errors import InputError

_MISSING = object()
_INDEX = re.compile(r"-?\d{1,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REQUIRED = {PromptSource: ("problem", "answer"), ExpertSource: ("problem", "response")}
_MARKS = ("keep", "score")
_RIGHT = 0.5
"""Score from which a response counts as marked right: of 0 and 1, of -1 and 1, of shares."""


@dataclass(frozen=True)
class Reject:
    """A row that is not used, and why."""

    source: str
    file: str
    line: int
    reason: str
    detail: str
    row: str

    def quarantine(self, stage: str) -> dict[str, Any]:
        """As a row of `tables.QUARANTINE`."""
        return quarantined(
            stage, self.source, self.reason, self.detail, file=self.file, line=self.line, row=self.row
        )


@dataclass(frozen=True)
class Row:
    """One row under our column names, with the place it was read from."""

    source: str
    file: str
    """Path, hub:ID or reasoning_gym:NAME."""
    line: int
    """Line of a text file, number of the row elsewhere; from 1."""
    values: dict[str, Any]
    """Text for problem, answer and response; a boolean for keep and, where the row has one, for score."""
    record: dict[str, Any]
    """The row as it was read; of several responses in a row, what is about this one."""
    sample: int | None = None
    """Number of the response in its row, from 0, where the row has several."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" + ("" if self.sample is None else f", sample {self.sample}")

    def reject(self, reason: str, detail: str) -> Reject:
        text = json.dumps(self.record, ensure_ascii=False, default=str)
        # Half a surrogate pair is legal in JSON escapes, not in UTF-8.
        text = text.encode("utf-8", "backslashreplace").decode()
        return Reject(self.source, self.file, self.line, reason, detail, text)


def read_rows(source: PromptSource | ExpertSource) -> Iterator[Row | Reject]:
    """Rows of `source` in their order, at most `limit` of them, rejected ones included.

    A row of an expert source with several responses gives a `Row` for each.

    Raises InputError where the whole source is unusable: no such file, data set or task, or a
    column map with names that are not ours.
    """
    file, rows = _open(source)
    columns = _columns(source)
    shapes = _shapes(source)
    limit = source.limit if isinstance(source, PromptSource) else None
    for line, raw in islice(rows, limit):
        if isinstance(raw, BadLine):
            yield Reject(source.name, file, line, raw.reason, raw.detail, raw.raw)
            continue
        row = Row(source.name, file, line, {}, raw)
        if isinstance(source, ExpertSource):
            yield from _responses(row, columns)
        else:
            yield _published(row, shapes) if shapes else _mapped(row, raw, columns)


def _open(source: PromptSource | ExpertSource) -> tuple[str, Iterator[Raw]]:
    if source.file:
        name, file = source.name, source.file
        return file, guarded(lambda: file_rows(name, located(file)), file, name)
    if source.hub:
        return f"hub:{source.hub}", hub_rows(source)
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return f"reasoning_gym:{source.reasoning_gym}", task_rows(source)
    raise InputError(f"source {source.name!r} has no rows to read; code writes its trajectories")


def _columns(source: PromptSource | ExpertSource) -> dict[str, str]:
    required = _REQUIRED[type(source)]
    known = {*required, *_MARKS} if isinstance(source, ExpertSource) else set(required)
    if unknown := sorted(set(source.columns) - known):
        raise InputError(
            f"params.yaml: `columns` of source {source.name!r} names {unknown}; ours are {sorted(known)}"
        )
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return {"problem": "question", "answer": "answer"}
    return {name: name for name in required} | source.columns


def _shapes(source: PromptSource | ExpertSource) -> tuple[Form, ...]:
    """The shapes that rows of a benchmark may have; none where `columns` says it, or a task gives them."""
    if not isinstance(source, PromptSource) or source.benchmark is None:
        return ()
    return () if source.columns or source.reasoning_gym else forms(source.benchmark)


def _published(row: Row, shapes: tuple[Form, ...]) -> Row | Reject:
    """The row read as the first of `shapes` whose columns it has."""
    for form in shapes:
        if _MISSING in (_reach(row.record, form.problem), _reach(row.record, form.answer)):
            continue
        if form.template is None:
            return _mapped(row, row.record, {"problem": form.problem, "answer": form.answer})
        try:
            problem, answer = form.template(row.record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return row.reject("not_as_published", f"{type(error).__name__}: {error}"[:200])
        return _mapped(
            row, {"problem": problem, "answer": answer}, {"problem": "problem", "answer": "answer"}
        )
    wanted = " or ".join(f"{form.problem}, {form.answer}" for form in shapes)
    detail = f"wanted: {wanted}; the row has {sorted(row.record)}; name its columns in `columns`"
    return row.reject("missing_column", detail)


def _responses(row: Row, columns: dict[str, str]) -> Iterator[Row | Reject]:
    """`row` once for each of the responses in it; what else is a list goes with them, one by one."""
    found = {ours: _reach(row.record, theirs) for ours, theirs in columns.items()}
    if not turns.are_several(found["response"]):
        yield _mapped(row, row.record, columns)
        return
    count = len(found["response"])
    lists = {ours for ours, value in found.items() if turns.are_several(value)}
    if uneven := {columns[ours]: len(found[ours]) for ours in sorted(lists) if len(found[ours]) != count}:
        yield row.reject("uneven_lists", f"{columns['response']!r} has {count} responses, and {uneven}")
    elif not count:
        yield row.reject("no_response", f"{columns['response']!r} is an empty list")
    else:
        for i in range(count):
            each = {ours: value[i] if ours in lists else value for ours, value in found.items()}
            told = {theirs: each[ours] for ours, theirs in columns.items() if each[ours] is not _MISSING}
            yield _typed(replace(row, sample=i, record={"sample": i, **told}), each, columns)


def _mapped(row: Row, record: dict[str, Any], columns: dict[str, str]) -> Row | Reject:
    """`row` with the values that `columns` (ours -> theirs) finds in `record`."""
    return _typed(row, {ours: _reach(record, theirs) for ours, theirs in columns.items()}, columns)


def _typed(row: Row, found: dict[str, Any], columns: dict[str, str]) -> Row | Reject:
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
        if not isinstance(value, bool if ours in _MARKS else str):
            return row.reject("wrong_type", f"{theirs!r} ({ours}) is {type(value).__name__}: {value!r}"[:200])
        if isinstance(value, str) and _SURROGATE.search(value):
            return row.reject("not_unicode", f"{theirs!r} ({ours}) holds half a surrogate pair")
        values[ours] = value
    return replace(row, values=values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "problem": turns.problem,
    "response": turns.response,
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
