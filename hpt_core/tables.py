"""The tables that stages hand to each other: one schema each, one writer with reproducible bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpt_core.errors import InputError
from hpt_core.types import Prompt, Trajectory

ROW_GROUP = 4096
ROW_TEXT = 2000
"""Characters of an offending row that quarantine keeps."""


def _schema(nullable: tuple[str, ...] = (), **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()])


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

PROMPTS = _schema(prompt_id=TEXT, problem=TEXT, answer=TEXT, answer_kind=TEXT, source=TEXT, license=TEXT)
BENCHMARKS = PROMPTS.append(pa.field("benchmark", TEXT, nullable=False))
EXPERTS = _schema(
    nullable=("base_logp",),
    trajectory_id=TEXT,
    prompt_id=TEXT,
    response=TEXT,
    kind=TEXT,
    source=TEXT,
    author=TEXT,
    license=TEXT,
    sampling=TEXT,
    verified=FLAG,
    n_tokens=INT,
    sha256=TEXT,
    weight=REAL,
    base_logp=REAL,
)
ROLLOUTS = _schema(
    nullable=("reward",),
    prompt_id=TEXT,
    sample=INT,
    step=INT,
    response=TEXT,
    token_ids=_list_of(pa.int32()),
    logprobs=_list_of(pa.float32()),
    reward=REAL,
    finish_reason=TEXT,
    policy=TEXT,
)
TEACHING = _schema(
    nullable=("extracted", "no_response", "no_verdict"),
    prompt_id=TEXT,
    sample=INT,
    response=TEXT,
    finish_reason=TEXT,
    n_tokens=INT,
    extracted=TEXT,
    correct=FLAG,
    no_response=TEXT,
    no_verdict=TEXT,
)
"""A teacher's responses while they are being made; no_response and no_verdict say why there is none."""
PASS_RATES = _schema(prompt_id=TEXT, samples=INT, solved=INT, pass_rate=REAL)
GATE = _schema(
    nullable=("pass_rate", "trajectory_id", "kind", "source"),
    step=INT,
    prompt_id=TEXT,
    pass_rate=REAL,
    route=TEXT,
    trajectory_id=TEXT,
    kind=TEXT,
    source=TEXT,
)
EVALUATION = _schema(
    nullable=("extracted",),
    benchmark=TEXT,
    prompt_id=TEXT,
    source=TEXT,
    sample=INT,
    response=TEXT,
    extracted=TEXT,
    correct=FLAG,
    finish_reason=TEXT,
    n_tokens=INT,
)
JUDGING = EVALUATION.append(pa.field("no_verdict", TEXT))
"""EVALUATION while it is being made; no_verdict says why there is none yet."""
QUARANTINE = _schema(stage=TEXT, source=TEXT, file=TEXT, line=INT, reason=TEXT, detail=TEXT, row=TEXT)


def quarantined(
    stage: str, source: str, reason: str, detail: str, *, file: str = "", line: int = 0, row: str = ""
) -> dict[str, Any]:
    """A row of QUARANTINE; `line` counts from 1, 0 where there is none."""
    return {
        "stage": stage,
        "source": source,
        "file": file,
        "line": line,
        "reason": reason,
        "detail": detail,
        "row": row[:ROW_TEXT],
    }


def write(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write `rows` to `path` as `writing` does, and return how many there were."""
    count = 0
    with writing(path, schema) as add:
        for row in rows:
            add(row)
            count += 1
    return count


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that adds a row to `path`, which is written once the block ends well.

    The same rows give the same bytes. Raises ValueError for a row whose columns are not the
    schema's: pyarrow would drop the one and fill in nulls for the other without a word.
    """
    names, batch = set(schema.names), list[dict[str, Any]]()
    with (
        _replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6", store_schema=False) as writer,
    ):

        def flush() -> None:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            batch.clear()

        def add(row: dict[str, Any]) -> None:
            if row.keys() != names:
                raise ValueError(f"{path}: a row has columns {sorted(row)}, not {sorted(names)}")
            batch.append(row)
            if len(batch) == ROW_GROUP:
                flush()

        yield add
        if batch:
            flush()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON, all or nothing."""
    with _replacing(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_text(path: Path, text: str) -> None:
    """Write `text`, all or nothing."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its place once the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Rows of `path`. Raises InputError where it is missing, no parquet file, or not of `schema`."""
    remedy = f"run `dvc repro {_stage(path)}`"
    if not path.is_file():
        raise InputError(f"{path}: not found; {remedy}")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}); {remedy}") from error
    if schema is not None and table.schema.names != schema.names:
        raise InputError(f"{path}: has columns {table.schema.names}, not {schema.names}; {remedy}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of train.parquet or dev.parquet."""
    return [Prompt(**row) for row in read(path, PROMPTS)]


def read_benchmarks(path: Path) -> dict[str, list[Prompt]]:
    """Prompts of benchmarks.parquet by benchmark, in the file's order."""
    benchmarks: dict[str, list[Prompt]] = {}
    for row in read(path, BENCHMARKS):
        benchmarks.setdefault(row.pop("benchmark"), []).append(Prompt(**row))
    return benchmarks


def read_experts(path: Path) -> list[Trajectory]:
    return [Trajectory(**row) for row in read(path, EXPERTS)]


def as_row(value: Prompt | Trajectory) -> dict[str, Any]:
    """The value as a row of PROMPTS or EXPERTS."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _stage(path: Path) -> str:
    """The dvc.yaml stage that writes `path`, from the folder it lies in."""
    folder, parent = path.parent.name, path.parent.parent.name
    if parent == "rollouts":
        return "rollouts" if folder == "base" else f"train@{folder}"
    if folder == "eval":
        return "evaluate_base" if path.stem == "base" else f"evaluate@{path.stem}"
    return {"prompts": "curate", "experts": "experts"}.get(folder, "").strip()
