"""A row as its file holds it, and under the project's column names (`SourceRow`); or why it is not used
(`BadLine`, `Reject`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from hpt_core.data.problems import prompt_id
from hpt_core.tables import ROW_TEXT, QuarantineRow, quarantined

Record = dict[str, Any]
"""A row as its source holds it: the source's column names, JSON values."""


@dataclass(frozen=True)
class BadLine:
    """A line that holds no record, and why."""

    reason: str
    detail: str
    text: str


NumberedRecord = tuple[int, Record | BadLine]
"""The line (in a text file) or the number of the row (elsewhere), from 1, and what stands there."""


class RowValues(TypedDict, total=False):
    """The values of a row under the project's column names."""

    problem: str
    answer: str
    response: str
    keep: bool
    """The source's own mark; a response that it marks False is dropped."""
    score: bool
    """The source's own mark, which the verifier may contradict. Absent where the source did not judge."""
    author: str
    """Who wrote the response, where the row or the entry of this response says so."""


@dataclass(frozen=True)
class Reject:
    """A row that is not used, and why."""

    source: str
    file: str
    line: int
    reason: str
    detail: str
    row: str
    prompt_id: str = ""
    """Of its problem; empty where none could be read."""

    def quarantine(self, stage: str) -> QuarantineRow:
        """This reject as a row of `tables.QUARANTINE`."""
        return quarantined(
            stage, self.source, self.reason, self.detail, file=self.file, line=self.line, row=self.row
        )


@dataclass(frozen=True)
class SourceRow:
    """One row under the project's column names, with the place it was read from."""

    source: str
    file: str
    """Path, hub:ID or reasoning_gym:NAME."""
    line: int
    """Line of a text file, number of the row elsewhere; counts from 1."""
    values: RowValues
    record: Record
    """The row as it was read. If it holds several responses, only the part that concerns this one."""
    sample: int | None = None
    """Number of the response within its row, from 0; None if the row holds one response."""
    kind: Literal["human", "teacher"] | None = None
    """Kind of this response, where its entry says so in place of the source."""
    unused_turns: tuple[str, ...] = ()
    """The turns of a conversation that are not used: `system`, `earlier`, `later` and other roles."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" + ("" if self.sample is None else f", sample {self.sample}")

    def reject(self, reason: str, detail: str) -> Reject:
        text = json.dumps(self.record, ensure_ascii=False, default=str)[:ROW_TEXT]
        # JSON escapes may hold half a surrogate pair, which UTF-8 cannot encode.
        text = text.encode("utf-8", "backslashreplace").decode()
        name = prompt_id(self.values["problem"]) if "problem" in self.values else ""
        return Reject(self.source, self.file, self.line, reason, detail, text, name)
