"""Prompts on their way through curation: on disk, in order, each one readable by its place."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import BinaryIO

from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.tables import ROW_TEXT
from hpt_core.types import Prompt

_FIELDS = tuple(field.name for field in fields(Prompt))


@dataclass(frozen=True)
class Entry:
    """A prompt, and the row that it is turned away as."""

    prompt: Prompt
    file: str
    line: int
    row: str
    """The row as JSON, as much of it as quarantine keeps."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def reject(self, reason: str, detail: str) -> Reject:
        return Reject(self.prompt.source, self.file, self.line, reason, detail, self.row)


class Spool:
    """Entries in a file; in memory, eight bytes each. All are added before one is read."""

    def __init__(self, file: BinaryIO) -> None:
        """`file`: an empty one."""
        self._file = file
        self._starts = array("q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: SourceRow, prompt: Prompt) -> None:
        text = row.reject("", "").row[:ROW_TEXT]
        values = [getattr(prompt, name) for name in _FIELDS]
        line = json.dumps((*values, row.file, row.line, text)).encode() + b"\n"
        self._file.write(line)
        self._starts.append(self._end)
        self._end += len(line)

    def __getitem__(self, at: int) -> Entry:
        self._file.seek(self._starts[at])
        return _entry(self._file.readline())

    def __iter__(self) -> Iterator[Entry]:
        for at in range(len(self)):
            yield self[at]


def _entry(line: bytes) -> Entry:
    *prompt, file, number, row = json.loads(line)
    return Entry(Prompt(*prompt), file, number, row)
