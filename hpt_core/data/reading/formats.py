"""Readers of files in every format, hub data sets and reasoning-gym tasks.

Each reader yields records in order with the place that each stands at. A line that holds no record is a
`BadLine`; a file that cannot be read at all raises InputError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.files.arrow import arrow_records, parquet_records
from hpt_core.data.reading.files.delimited import delimited_records
from hpt_core.data.reading.files.json_rows import json_records
from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import READ, format_of
from hpt_core.data.reading.files.shards import files_of
from hpt_core.data.reading.records import BadLine, NumberedRecord, Record
from hpt_core.errors import InputError


class PlacedRecord(NamedTuple):
    """What stands at a line of a file."""

    file: str
    """Path or URL of the file itself, of a folder's or pattern's too; hub:ID or reasoning_gym:NAME."""
    line: int
    """Line of a text file, number of the row elsewhere; counts from 1."""
    record: Record | BadLine


def records_of(file: str, setting: str, root: str | None = None) -> Iterator[PlacedRecord]:
    """Records of a file, of all data files of a folder, or of those that match a pattern (`files.shards`).

    `setting` says, in errors, what names the file: "`file` of source 'x' in params.yaml". `root` is the key
    of the rows in a JSON file that is one object (`files.json_rows`).
    """
    for location in files_of(file, setting):
        for line, record in file_records(location, setting, root):
            yield PlacedRecord(str(location), line, record)


def file_records(path: Location, setting: str, root: str | None = None) -> Iterator[NumberedRecord]:
    """Records of one file, with the parameters of `records_of`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct {setting}")
    kind = format_of(path.name)
    if root is not None and kind not in ("json", "jsonl"):
        raise InputError(f"{path}: `root` is for JSON files; leave it out, or correct {setting}")
    match kind:
        case "json" | "jsonl":
            return json_records(path, setting, root)
        case "csv" | "tsv":
            return delimited_records(path, setting)
        case "parquet":
            return parquet_records(path, setting)
        case "arrow":
            return arrow_records(path, setting)
    raise InputError(
        f"{path}: neither JSON, CSV nor parquet by its name ({READ}); convert it, or correct {setting}"
    )


def hub_records(source: PromptSource | ExpertSource, streaming: bool = False) -> Iterator[PlacedRecord]:
    """Records of a hub data set, through `datasets`; with `streaming` only as much is loaded as is read."""
    # Imported here because the import takes seconds and most recipes need no hub.
    from datasets import load_dataset

    try:
        rows = load_dataset(
            source.hub,
            source.subset,
            split=source.split,
            revision=source.revision,
            **({"streaming": True} if streaming else {}),
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"hub:{source.hub} (subset {source.subset}, split {source.split}): {error}; check `hub`, "
            f"`subset`, `split` and `revision` of source {source.name!r} in params.yaml, unset "
            f"HF_HUB_OFFLINE for the first download, or give a local `file`"
        ) from error
    return (PlacedRecord(f"hub:{source.hub}", number, dict(row)) for number, row in enumerate(rows, 1))


def task_records(source: PromptSource) -> Iterator[PlacedRecord]:
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
    name = f"reasoning_gym:{source.reasoning_gym}"
    return (PlacedRecord(name, number, task[number - 1]) for number in range(1, len(task) + 1))
