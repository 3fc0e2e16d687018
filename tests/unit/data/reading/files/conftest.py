"""Fixtures: the rows of a source, and its rejects, from files that a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import PromptSource
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows

Read = Callable[..., list[SourceRow | Reject]]


@pytest.fixture
def read() -> Read:
    """Read a path or URL as the source 'mine'."""

    def rows(path: Path | str, **keys: Any) -> list[SourceRow | Reject]:
        return list(read_rows(PromptSource(name="mine", file=str(path), answer_kind="exact", **keys)))

    return rows


@pytest.fixture
def answers(read: Read) -> Callable[..., list[str]]:
    """The answers in a path or URL, none of whose rows is rejected."""

    def values(path: Path | str, **keys: Any) -> list[str]:
        rows = read(path, **keys)
        assert not [row for row in rows if isinstance(row, Reject)]
        return [row.values["answer"] for row in rows if isinstance(row, SourceRow)]

    return values
