"""Rows of a source under our column names, whatever holds them.

A row that cannot be read becomes a `Reject` with its file, line and reason; only a source that
cannot be read at all raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.formats import BadLine, Raw, file_rows, hub_rows, task_rows
from hpt_core.data.tables import quarantined
from hpt_core.errors import InputError

_MISSING = object()
_REQUIRED = {PromptSource: ("problem", "answer"), ExpertSource: ("problem", "response")}


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
    """Text for problem, answer and response; a boolean for keep."""
    record: dict[str, Any]
    """The row as it was read."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def reject(self, reason: str, detail: str) -> Reject:
        text = json.dumps(self.record, ensure_ascii=False, default=str)
        # Half a surrogate pair is legal in JSON escapes, not in UTF-8.
        text = text.encode("utf-8", "backslashreplace").decode()
        return Reject(self.source, self.file, self.line, reason, detail, text)


def read_rows(source: PromptSource | ExpertSource) -> Iterator[Row | Reject]:
    """Rows of `source` in their order, at most `limit` of them, rejected ones included.

    Raises InputError where the whole source is unusable: no such file, data set or task, or a
    column map with names that are not ours.
    """
    file, rows = _open(source)
    columns = _columns(source)
    limit = source.limit if isinstance(source, PromptSource) else None
    for line, raw in islice(rows, limit):
        if isinstance(raw, BadLine):
            yield Reject(source.name, file, line, raw.reason, raw.detail, raw.raw)
        else:
            yield _mapped(Row(source.name, file, line, {}, raw), columns)


def _open(source: PromptSource | ExpertSource) -> tuple[str, Iterator[Raw]]:
    if source.file:
        return source.file, file_rows(source.name, Path(source.file))
    if source.hub:
        return f"hub:{source.hub}", hub_rows(source)
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return f"reasoning_gym:{source.reasoning_gym}", task_rows(source)
    raise InputError(f"source {source.name!r} has no rows to read; code writes its trajectories")


def _columns(source: PromptSource | ExpertSource) -> dict[str, str]:
    required = _REQUIRED[type(source)]
    known = {*required, "keep"} if isinstance(source, ExpertSource) else set(required)
    if unknown := sorted(set(source.columns) - known):
        raise InputError(
            f"params.yaml: `columns` of source {source.name!r} names {unknown}; ours are {sorted(known)}"
        )
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return {"problem": "question", "answer": "answer"}
    return {name: name for name in required} | source.columns


def _mapped(row: Row, columns: dict[str, str]) -> Row | Reject:
    values = {}
    for ours, theirs in columns.items():
        value = _reach(row.record, theirs)
        if value is None or value is _MISSING:
            return row.reject("missing_column", f"no {theirs!r} ({ours}); the row has {sorted(row.record)}")
        if ours == "answer" and isinstance(value, int | float) and not isinstance(value, bool):
            value = value if isinstance(value, float) and not math.isfinite(value) else str(value)
        if not isinstance(value, bool if ours == "keep" else str):
            return row.reject("wrong_type", f"{theirs!r} ({ours}) is {type(value).__name__}: {value!r}"[:200])
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            return row.reject("not_unicode", f"{theirs!r} ({ours}) holds half a surrogate pair")
        values[ours] = value
    return Row(row.source, row.file, row.line, values, row.record)


def _reach(row: dict[str, Any], path: str) -> Any:
    """row[path], or the value under the dotted path; _MISSING where there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value
