"""The rows of a source of prompts or responses, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows

Lines = Callable[..., Path]
Q = "What is 6 times 7?"


def prompt_rows(path: Path, kind: str = "math", **keys: Any) -> list[SourceRow | Reject]:
    return list(read_rows(PromptSource(name="p", file=str(path), answer_kind=kind, **keys)))


def expert_rows(path: Path, **keys: Any) -> list[SourceRow | Reject]:
    return list(read_rows(ExpertSource(name="e", kind="teacher", file=str(path), **keys)))


def values(rows: list[SourceRow | Reject]) -> list[dict[str, Any]]:
    assert all(isinstance(row, SourceRow) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, SourceRow)]


def reject(rows: list[SourceRow | Reject]) -> tuple[str, str]:
    [row] = rows
    assert isinstance(row, Reject), row
    return row.reason, row.detail
