"""Fixtures: a verifier in a process of its own, and the file of a data set's rows in its published format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.verifier import VerifierPool


@pytest.fixture(scope="module")
def verifier() -> Iterator[VerifierPool]:
    with VerifierPool(1, 20.0) as pool:
        yield pool


@pytest.fixture
def data_file(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as parquet, JSONL or one JSON array, by the suffix."""

    def write(rows: Sequence[Any], suffix: str = ".jsonl") -> Path:
        path = tmp_path / f"data{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), path)
        elif suffix == ".json":
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
