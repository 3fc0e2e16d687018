"""Storage on disk for the prompts that curation has read and not yet decided on, readable by index."""

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
class SpooledPrompt:
    """A prompt, and the source row that its reject would show."""

    prompt: Prompt
    file: str
    line: int
    row: str
    """The row as JSON, cut to the length that the quarantine keeps."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def reject(self, reason: str, detail: str) -> Reject:
        name = self.prompt.prompt_id
        return Reject(self.prompt.source, self.file, self.line, reason, detail, self.row, name)


class Spool:
    """Prompts in a file, with eight bytes of memory for each. All are added before the first is read."""

    def __init__(self, file: BinaryIO) -> None:
        """`file` is empty and open for reading and writing."""
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

    def __getitem__(self, index: int) -> SpooledPrompt:
        self._file.seek(self._starts[index])
        return _parse(self._file.readline())

    def __iter__(self) -> Iterator[SpooledPrompt]:
        for index in range(len(self)):
            yield self[index]


def _parse(line: bytes) -> SpooledPrompt:
    *prompt, file, number, row = json.loads(line)
    return SpooledPrompt(Prompt(*prompt), file, number, row)
