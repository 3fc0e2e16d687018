"""A row of a source under our column names, or why it is not used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hpt_core.tables import ROW_TEXT, quarantined


@dataclass(frozen=True)
class Reject:
    """A row that is not used, and why."""

    source: str
    file: str
    line: int
    reason: str
    detail: str
    row: str

    def quarantine(self, stage: str) -> dict[str, Any]:
        """As a row of `tables.QUARANTINE`."""
        return quarantined(
            stage, self.source, self.reason, self.detail, file=self.file, line=self.line, row=self.row
        )


@dataclass(frozen=True)
class SourceRow:
    """One row under our column names, with the place it was read from."""

    source: str
    file: str
    """Path, hub:ID or reasoning_gym:NAME."""
    line: int
    """Line of a text file, number of the row elsewhere; from 1."""
    values: dict[str, Any]
    """Text for problem, answer and response; a boolean for keep and, where the row has one, for score."""
    record: dict[str, Any]
    """The row as it was read; of several responses in a row, what is about this one."""
    sample: int | None = None
    """Number of the response in its row, from 0, where the row has several."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" + ("" if self.sample is None else f", sample {self.sample}")

    def reject(self, reason: str, detail: str) -> Reject:
        text = json.dumps(self.record, ensure_ascii=False, default=str)[:ROW_TEXT]
        # Half a surrogate pair is legal in JSON escapes, not in UTF-8.
        text = text.encode("utf-8", "backslashreplace").decode()
        return Reject(self.source, self.file, self.line, reason, detail, text)
