"""Rows of parquet and arrow files, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from hpt_core.data.reading.files.compressed import check_head
from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import compression_of
from hpt_core.data.reading.records import NumberedRecord
from hpt_core.errors import InputError

BATCH = 1024
"""Rows that are Python objects at a time."""
_BUFFER = 2**20
_ARROW_FILE = b"ARROW1"
_END_OF_STREAM = b"\0\0\0\0"

Batches = Iterator[pa.RecordBatch]


def parquet_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    return _records(path, setting, "parquet", _parquet_batches)


def arrow_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    """Rows of an arrow file, such as .feather, or of an arrow stream, as `datasets` keeps its tables."""
    return _records(path, setting, "arrow", _arrow_batches)


def _records(
    path: Location, setting: str, what: str, batches: Callable[[IO[bytes]], Batches]
) -> Iterator[NumberedRecord]:
    """The rows of all batches. Raises InputError for a file that is damaged or has a column twice."""
    if compression := compression_of(path.name):
        raise InputError(f"{path}: {what} in {compression}; decompress it, or correct {setting}")
    number = 0
    try:
        with path.open("rb") as head:
            check_head(head.read(64), path, setting, what)
        # A memory map keeps a batch on disk, however large it is.
        with pa.memory_map(str(path)) if isinstance(path, Path) else path.open("rb") as data:
            for batch in batches(data):
                _check_names(batch.schema, path, setting)
                for start in range(0, batch.num_rows, BATCH):
                    for row in batch.slice(start, BATCH).to_pylist():
                        number += 1
                        yield number, row
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable {what} file ({error}); copy or download it again, or correct {setting}"
        ) from error


def _parquet_batches(data: IO[bytes]) -> Batches:
    # With a buffer and without pre_buffer, a row group is read page by page rather than at once.
    with pq.ParquetFile(data, pre_buffer=False, buffer_size=_BUFFER) as file:
        yield from file.iter_batches(batch_size=BATCH)


def _arrow_batches(data: IO[bytes]) -> Batches:
    if data.read(len(_ARROW_FILE)) == _ARROW_FILE:
        with pa.ipc.open_file(data) as file:
            yield from map(file.get_batch, range(file.num_record_batches))
        return
    data.seek(-len(_END_OF_STREAM), 2)
    if data.read() != _END_OF_STREAM:
        raise ValueError("the mark of the end is missing: it was cut off")
    data.seek(0)
    with pa.ipc.open_stream(data) as stream:
        yield from stream


def _check_names(fields: Iterable[pa.Field], path: Location, setting: str) -> None:
    """Raise InputError if two of `fields`, or of the fields of a struct among them, have one name."""
    fields = list(fields)
    counts = Counter(field.name for field in fields)
    if repeated := next((name for name, count in counts.items() if count > 1), None):
        raise InputError(f"{path}: two columns are named {repeated!r}; rename one, or correct {setting}")
    for field in fields:
        inner = field.type
        while hasattr(inner, "value_field"):
            inner = inner.value_type
        if pa.types.is_struct(inner):
            _check_names(inner, path, setting)
