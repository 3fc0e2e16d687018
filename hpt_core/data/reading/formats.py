"""Readers of JSONL, JSON arrays, CSV, parquet, hub data sets and reasoning-gym tasks.

Each reader yields (number, record) in order. A line that holds no record is a `BadLine`; a file that cannot
be read at all raises InputError.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.lines import MAX_LINE, bounded_lines, first_byte
from hpt_core.data.reading.records import Record
from hpt_core.data.reading.remote import Location
from hpt_core.errors import InputError


@dataclass(frozen=True)
class BadLine:
    """A line that holds no record, and why."""

    reason: str
    detail: str
    text: str


NumberedRecord = tuple[int, Record | BadLine]
"""The line (in a text file) or the number of the row (elsewhere), from 1, and what stands there."""

BATCH = 1024
"""Rows of a parquet file that are in memory at a time."""


def file_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    """Records of a JSONL, JSON, CSV or parquet file.

    `setting` says, in errors, what names the file: "`file` of source 'x' in params.yaml".
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct {setting}")
    if path.suffix == ".parquet":
        return _parquet_records(path, setting)
    if path.suffix == ".csv":
        return _csv_records(path, setting)
    if path.suffix not in (".jsonl", ".json"):
        raise InputError(f"{path}: neither JSON, CSV nor parquet; convert it, or correct {setting}")
    with path.open("rb") as file:
        is_array = first_byte(file) == b"["
    return _array_records(path, setting) if is_array else _line_records(path)


def _line_records(path: Location) -> Iterator[NumberedRecord]:
    with path.open("rb") as file:
        for number, data, size in bounded_lines(file):
            data = data.removeprefix(b"\xef\xbb\xbf") if number == 1 else data
            if size > MAX_LINE:
                text = data.decode("utf-8", errors="replace")
                yield number, BadLine("line_too_long", f"{size} bytes; a row has at most {MAX_LINE}", text)
            elif data.strip():
                yield number, _parse_line(data)


def _parse_line(data: bytes) -> Record | BadLine:
    text = data.decode("utf-8", errors="replace").strip()
    try:
        row = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadLine("not_utf8", f"byte {error.start + 1} of the line: {error.reason}", text)
    except (ValueError, RecursionError) as error:
        return BadLine("malformed_json", str(error), text)
    if not isinstance(row, dict):
        return BadLine("not_an_object", f"a JSON {type(row).__name__}, not an object", text)
    return row


def _array_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    """Items of one JSON array, each with the line on which it begins."""
    decoder = json.JSONDecoder()
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: not UTF-8 ({error.reason}); save it as UTF-8, or correct {setting}"
        ) from error
    at = text.index("[") + 1
    line, counted = 1, 0
    while True:
        at = _after_spaces(text, at)
        if text[at : at + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{line}: malformed JSON array ({error}); correct it, or give one object a line "
                f"(JSONL), where a bad line costs that line only ({setting})"
            ) from error
        bad = BadLine("not_an_object", f"a JSON {type(item).__name__}, not an object", str(item))
        yield line, item if isinstance(item, dict) else bad
        at = _after_spaces(text, at)
        at += text[at : at + 1] == ","


def _after_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _csv_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    """Rows under the names of the first one, each with the line on which it ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for row in rows:
                # DictReader keeps the cells beyond the last column under the key None.
                beyond = row.pop(None, None)
                bad = BadLine("malformed_csv", f"cells beyond the last column: {beyond}", str(row))
                yield rows.line_num, bad if beyond else row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as CSV in UTF-8 ({error}); save it again, or correct {setting}"
        ) from error


def _parquet_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    try:
        with path.open("rb") as data, pq.ParquetFile(data) as file:
            number = 0
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error}); correct {setting}") from error


def hub_records(source: PromptSource | ExpertSource) -> Iterator[NumberedRecord]:
    """Records of a hub data set, through `datasets`."""
    # Imported here because the import takes seconds and most recipes need no hub.
    from datasets import load_dataset

    try:
        rows = load_dataset(source.hub, source.subset, split=source.split, revision=source.revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"hub:{source.hub} (subset {source.subset}, split {source.split}): {error}; check `hub`, "
            f"`subset`, `split` and `revision` of source {source.name!r} in params.yaml, unset "
            f"HF_HUB_OFFLINE for the first download, or give a local `file`"
        ) from error
    return ((number, dict(row)) for number, row in enumerate(rows, 1))


def task_records(source: PromptSource) -> Iterator[NumberedRecord]:
    """Entries of a reasoning-gym task; item i is drawn with seed + i."""
    # Imported here because the import loads the word lists of every task.
    import reasoning_gym

    try:
        task = reasoning_gym.create_dataset(
            source.reasoning_gym, size=source.size, seed=source.seed, **source.options
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(
            f"reasoning_gym:{source.reasoning_gym}: {error}; check `reasoning_gym`, `size`, `seed` and "
            f"`options` of source {source.name!r} in params.yaml"
        ) from error
    return ((number, task[number - 1]) for number in range(1, len(task) + 1))
