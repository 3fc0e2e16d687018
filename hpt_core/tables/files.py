"""The tables as parquet files: a writer, a reader, and the prompts and trajectories in them.

The same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpt_core.errors import InputError
from hpt_core.files import command, present, replacing
from hpt_core.tables.schemas import BENCHMARKS, DEMONSTRATIONS, EXPERTS, LEFT_OUT, PASS_RATES, PROMPTS
from hpt_core.types import Prompt, Trajectory

ROW_GROUP = 4096
"""Rows that are written together."""


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write `rows` to `path` as `writing` does, and return their number."""
    count = 0
    with writing(path, schema) as add:
        for row in rows:
            add(row)
            count += 1
    return count


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds a row to `path`; the file appears when the block ends without an exception.

    The same rows give the same bytes. Raises ValueError for a row whose columns are not those of the schema,
    because pyarrow would silently drop an extra column and fill a missing one with nulls.
    """
    names, batch = set(schema.names), list[Mapping[str, Any]]()
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6", store_schema=False) as writer,
    ):

        def flush() -> None:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            batch.clear()

        def add(row: Mapping[str, Any]) -> None:
            if row.keys() != names:
                raise ValueError(f"{path}: a row has columns {sorted(row)}, not {sorted(names)}")
            batch.append(row)
            if len(batch) == ROW_GROUP:
                flush()

        yield add
        if batch:
            flush()


def read(
    path: Path,
    schema: pa.Schema | None = None,
    *,
    columns: Sequence[str] | None = None,
    filters: pc.Expression | None = None,
    remedy: str | None = None,
) -> list[dict[str, Any]]:
    """Rows of `path`, all or those that pass `filters`, with all columns or with `columns`.

    remedy: what the user can do about an unusable file; by default, to run the stage that writes it.

    Raises InputError where the file is missing, no parquet file, not of `schema` or without one of `columns`.
    """
    with _opened(path, remedy) as file:
        names = file.schema_arrow.names
        if schema is not None and names != schema.names:
            raise InputError(f"{path}: has columns {names}, not {schema.names}; {remedy or command(path)}")
        if missing := sorted(set(columns or ()) - set(names)):
            raise InputError(f"{path}: has no columns {missing}; {remedy or command(path)}")
        table = file.read(columns=None if columns is None else list(columns))
    rows: list[dict[str, Any]] = (table if filters is None else table.filter(filters)).to_pylist()
    return rows


def count_rows(path: Path, remedy: str | None = None) -> int:
    """Number of rows, without reading them. Raises InputError as `read` does."""
    with _opened(path, remedy) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _opened(path: Path, remedy: str | None) -> Iterator[pq.ParquetFile]:
    """The open file. Raises InputError where it is missing or cannot be read."""
    present(path, remedy)
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        problem = f"{path}: not a readable parquet file ({error})"
        raise InputError(f"{problem}; {remedy or command(path)}") from error


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of train.parquet or dev.parquet."""
    return [Prompt(**row) for row in read(path, PROMPTS)]


def read_benchmarks(path: Path) -> dict[str, list[Prompt]]:
    """Prompts of benchmarks.parquet by benchmark, in the file's order."""
    benchmarks: dict[str, list[Prompt]] = {}
    for row in read(path, BENCHMARKS):
        benchmarks.setdefault(row.pop("benchmark"), []).append(Prompt(**row))
    return benchmarks


def read_left_out(path: Path) -> dict[str, str]:
    """Prompt_id -> why curation left the problem out: the first reason of left_out.parquet."""
    rows = read(path, LEFT_OUT)
    return {row["prompt_id"]: f"{row['reason']}: {row['detail']}" for row in reversed(rows)}


def read_pass_rates(path: Path) -> dict[str, float]:
    """Prompt_id -> pass rate of pass_rates.parquet."""
    return {row["prompt_id"]: row["pass_rate"] for row in read(path, PASS_RATES)}


def read_experts(path: Path) -> list[Trajectory]:
    return [Trajectory(**row) for row in read(path, EXPERTS)]


def read_demonstrations(path: Path) -> dict[str, list[Trajectory]]:
    """Prompt_id -> the demonstrations that an arm has for the prompt."""
    found: dict[str, list[Trajectory]] = {}
    for row in read(path, DEMONSTRATIONS):
        found.setdefault(row["prompt_id"], []).append(Trajectory(**row))
    return found


def as_row(value: Prompt | Trajectory) -> dict[str, Any]:
    """The value as a row of PROMPTS or EXPERTS."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
