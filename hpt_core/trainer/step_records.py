"""What training leaves behind besides weights, kept in files from checkpoint to checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpt_core import tables

TABLES = {"rollouts": tables.ROLLOUTS, "gate": tables.GATE}


@dataclass
class Records:
    """Rows of the steps since the last checkpoint."""

    rollouts: list[dict[str, Any]] = field(default_factory=list)
    gate: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)

    def clear(self) -> None:
        for rows in (self.rollouts, self.gate, self.metrics):
            rows.clear()

    def write(self, folder: Path) -> None:
        for name, schema in TABLES.items():
            tables.write(folder / f"{name}.parquet", getattr(self, name), schema)
        lines = [json.dumps(row) for row in self.metrics]
        (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    yield from tables.read(folder / f"{table}.parquet")


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def counts(folder: Path) -> dict[str, int]:
    """Rows of each file, without reading the tables. Raises OSError or ValueError for one that is damaged."""
    found: dict[str, int] = {name: pq.read_metadata(folder / f"{name}.parquet").num_rows for name in TABLES}
    return {**found, "metrics": len(metrics(folder))}
