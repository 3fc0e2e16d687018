"""Rows of a source under the project's column names, whatever format holds them.

A row that cannot be read becomes a `Reject` with its file, line and reason. A source that cannot be read at
all raises InputError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.config.columns import MARKS, Columns
from hpt_core.data.reading.benchmarks import RowShape, row_shapes
from hpt_core.data.reading.columns import Fields, read_by_shape, read_responses, read_row
from hpt_core.data.reading.files.location import with_server_errors
from hpt_core.data.reading.formats import PlacedRecord, hub_records, records_of, task_records
from hpt_core.data.reading.records import BadLine, Reject, SourceRow
from hpt_core.errors import InputError

_REQUIRED = {PromptSource: ("problem", "answer"), ExpertSource: ("problem", "response")}

_KINDS_WITHOUT_LISTS = ("math", "gsm8k", "choice")
"""Kinds of which no answer looks like the JSON list ["72"]; such an answer is 72."""

FIRST = 100
"""Rows of a source that are checked before the rest is read; one of them must be usable."""


def read_rows(source: PromptSource | ExpertSource) -> Iterator[SourceRow | Reject]:
    """Rows of `source` in their order, at most `limit` of them, rejected ones included.

    A row of an expert source that holds several responses gives a `SourceRow` for each.

    Raises InputError if the whole source is unusable: no such file, data set or task, or a column map with
    names that are not the project's.
    """
    limit = source.limit if isinstance(source, PromptSource) else None
    return rows_of(source, islice(records_in(source), limit))


def rows_of(
    source: PromptSource | ExpertSource, records: Iterable[PlacedRecord]
) -> Iterator[SourceRow | Reject]:
    """`records`, read as `source` says."""
    fields = _fields(source)
    shapes = _benchmark_shapes(source)
    for file, line, record in records:
        if isinstance(record, BadLine):
            yield Reject(source.name, file, line, record.reason, record.detail, record.text)
            continue
        row = SourceRow(source.name, file, line, {}, record)
        if isinstance(source, ExpertSource):
            yield from read_responses(row, fields)
        else:
            yield read_by_shape(row, shapes, fields) if shapes else read_row(row, record, fields)


def first_rows(source: PromptSource | ExpertSource) -> list[SourceRow | Reject]:
    """The first FIRST rows of `source`. Raises InputError as `read_rows` does."""
    return list(islice(read_rows(source), FIRST))


def why_unusable(
    source: PromptSource | ExpertSource, rows: Sequence[SourceRow | Reject], remedies: Mapping[str, str]
) -> str | None:
    """What is wrong with a source if none of its first `rows` is usable, with the remedy; None if one is.

    remedies: reason of a reject -> what to do about it.
    """
    if not rows:
        return f"{source.file or source.hub} has no rows; correct `file` or `hub`"
    rejects = [row for row in rows if isinstance(row, Reject)]
    if len(rejects) < len(rows):
        return None
    first = rejects[0]
    others = f"; none of the first {len(rows)} rows is usable" if len(rows) > 1 else ""
    remedy = remedies.get(first.reason, "correct `file`, `hub` or `columns`")
    return f"{first.file}:{first.line}: {first.reason}: {first.detail}{others}; {remedy}"


def records_in(source: PromptSource | ExpertSource, streaming: bool = False) -> Iterator[PlacedRecord]:
    """The records of the source's files, hub data set or task.

    streaming: load a hub's data set as its rows are read, rather than all of it before the first row.
    """
    if source.file:
        name, file, root = source.name, source.file, source.root
        setting = f"`file` of source {name!r} in params.yaml"
        return with_server_errors(lambda: records_of(file, setting, root), file, name)
    if source.hub:
        return hub_records(source, streaming)
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return task_records(source)
    raise InputError(f"source {source.name!r} has no rows to read; code writes its trajectories")


def _fields(source: PromptSource | ExpertSource) -> Fields:
    """How the rows are read: a field that `columns` does not name is the column of its own name."""
    required = _REQUIRED[type(source)]
    allowed_columns = {*required, *MARKS, "author"} if isinstance(source, ExpertSource) else set(required)
    if unknown := sorted(set(source.columns) - allowed_columns):
        raise InputError(
            f"params.yaml: `columns` of source {source.name!r} names {unknown}; ours are "
            f"{sorted(allowed_columns)}"
        )
    if isinstance(source, PromptSource) and source.reasoning_gym:
        return Fields({"problem": "question", "answer": "answer"}, source.turns, lists_as_texts=True)
    columns: Columns = source.columns
    as_texts = isinstance(source, PromptSource) and source.verifier_kind not in _KINDS_WITHOUT_LISTS
    return Fields({**{name: name for name in required}, **columns}, source.turns, as_texts)


def _benchmark_shapes(source: PromptSource | ExpertSource) -> tuple[RowShape, ...]:
    """The shapes that rows of a benchmark may have; none if `columns` or a reasoning-gym task decides."""
    if not isinstance(source, PromptSource) or source.benchmark is None:
        return ()
    return () if source.columns or source.reasoning_gym else row_shapes(source.benchmark)
