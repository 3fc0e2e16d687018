"""The parquet tables that stages pass to each other: their schemas, a reader, and a writer.

The same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpt_core.errors import InputError
from hpt_core.files import command, present, replacing
from hpt_core.types import Prompt, Trajectory

ROW_GROUP = 4096
ROW_TEXT = 2000
"""Number of characters of a rejected row that QUARANTINE keeps."""


def _schema(nullable: tuple[str, ...] = (), **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in columns.items()])


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

PROMPTS = _schema(prompt_id=TEXT, problem=TEXT, answer=TEXT, answer_kind=TEXT, source=TEXT, license=TEXT)
BENCHMARKS = PROMPTS.append(pa.field("benchmark", TEXT, nullable=False))
LEFT_OUT = _schema(prompt_id=TEXT, reason=TEXT, detail=TEXT)
"""Problems of rows that curation did not give to training, and why; another row may have done so."""
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
DEMONSTRATIONS = pa.schema([column for column in EXPERTS if column.name not in ("weight", "base_logp")])
"""The demonstrations of an arm, without the columns by which it chose them: another weight of a source trains
only the arms that choose other rows by it."""
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
TRAINING_ROLLOUTS = ROLLOUTS.append(pa.field("trained", FLAG, nullable=False))
"""The rollouts of training; trained: the rollout had a gradient in an update that the optimizer took."""
TEACHER_RESPONSES = _schema(
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
"""Teacher responses; no_response and no_verdict: why there is no response or verdict."""
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
    trained=FLAG,
)


class GateRow(TypedDict):
    """A row of GATE: what was decided about a prompt at a step."""

    step: int
    prompt_id: str
    pass_rate: float | None
    """P; None without rollouts."""
    route: str
    trajectory_id: str | None
    """The demonstration that the arm has for the prompt, trained on or not."""
    kind: str | None
    source: str | None
    trained: bool
    """The demonstration had a gradient in an update that the optimizer took."""


class SourceStatistics(TypedDict):
    """What the rows of GATE of a whole run say of the prompts whose expert comes from one source."""

    kind: str | None
    prompts: int
    """Number of these prompts."""
    decisions: int
    """Number of rows of GATE about them."""
    sft: int
    """How often a demonstration of the source was trained on."""
    sft_share: float | None
    """`sft` as a share of the sum over all sources; None where no demonstration was trained on."""
    sft_first: float
    """Share of the prompts whose first decision took the demonstration."""
    sft_last: float
    """The same of the last decision."""
    solved_first: float | None
    """Mean pass rate at the first decision; None without rollouts."""
    solved_last: float | None
    nll_before: float | None
    """NLL in nats per token before the first step, of a few demonstrations."""
    nll_after: float | None
    """NLL of the same demonstrations after the last step."""


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
UNFINISHED_EVALUATION = EVALUATION.append(pa.field("no_verdict", TEXT))
"""EVALUATION while the stage runs; no_verdict: why there is no verdict yet."""
QUARANTINE = _schema(stage=TEXT, source=TEXT, file=TEXT, line=INT, reason=TEXT, detail=TEXT, row=TEXT)


class QuarantineRow(TypedDict):
    """A row of QUARANTINE: what a stage left out, and why."""

    stage: str
    source: str
    file: str
    line: int
    """Counts from 1; 0 where the row has no line."""
    reason: str
    detail: str
    row: str
    """The first ROW_TEXT characters."""


def quarantined(
    stage: str, source: str, reason: str, detail: str, *, file: str = "", line: int = 0, row: str = ""
) -> QuarantineRow:
    """A row of QUARANTINE."""
    return {
        "stage": stage,
        "source": source,
        "file": file,
        "line": line,
        "reason": reason,
        "detail": detail,
        "row": row[:ROW_TEXT],
    }


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


def read_demonstrations(path: Path) -> dict[str, Trajectory]:
    """Prompt_id -> the demonstration that an arm has for the prompt."""
    return {row["prompt_id"]: Trajectory(**row) for row in read(path, DEMONSTRATIONS)}


def as_row(value: Prompt | Trajectory) -> dict[str, Any]:
    """The value as a row of PROMPTS or EXPERTS."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
