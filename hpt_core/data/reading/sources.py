"""Rows of a source under our column names, whatever holds them.

A row that cannot be read becomes a `Reject` with its file, line and reason; only a source that
cannot be read at all raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.benchmarks import Form, forms
from hpt_core.data.reading.columns import MARKS, mapped, published, responses
from hpt_core.data.reading.formats import BadLine, Raw, file_rows, hub_rows, task_rows
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.remote import guarded, located
from hpt_core.errors import InputError

_REQUIRED = {PromptSource: ("problem", "answer"), ExpertSource: ("problem", "response")}


def read_rows(source: PromptSource | ExpertSource) -> Iterator[SourceRow | Reject]:
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
        row = SourceRow(source.name, file, line, {}, raw)
        if isinstance(source, ExpertSource):
            yield from responses(row, columns)
        else:
            yield published(row, shapes) if shapes else mapped(row, raw, columns)


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
    known = {*required, *MARKS} if isinstance(source, ExpertSource) else set(required)
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
