"""`curate` on small sources, and the files that it writes, read back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.pipeline import curate
from hpt_core.types import Prompt


@dataclass(frozen=True)
class Curated:
    """The files and the report of one curation."""

    train: list[Prompt]
    dev: list[Prompt]
    benchmarks: dict[str, list[Prompt]]
    quarantine: list[dict[str, Any]]
    report: dict[str, Any]

    @property
    def kept(self) -> list[Prompt]:
        return self.train + self.dev

    def dropped(self, source: str) -> dict[str, int]:
        return dict(self.report["sources"]["train"][source]["dropped"])


def curated(
    train: Sequence[PromptSource],
    benchmarks: Mapping[str, Sequence[PromptSource]],
    *,
    seed: int = 0,
    **config: Any,
) -> Curated:
    """Curate `train` and `benchmarks`; `config` holds further keys of CurateConfig."""
    keys = {"dev_size": 3, "max_problem_chars": 2000} | config
    curate_config = CurateConfig(
        train=list(train),
        benchmarks={name: list(sources) for name, sources in benchmarks.items()},
        **keys,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = curate(curate_config, seed, folder)
        assert {path.suffix for path in folder.iterdir()} == {".parquet"}, "a temporary file is left"
        return Curated(
            train=tables.read_prompts(folder / "train.parquet"),
            dev=tables.read_prompts(folder / "dev.parquet"),
            benchmarks=tables.read_benchmarks(folder / "benchmarks.parquet"),
            quarantine=tables.read(folder / "quarantine.parquet", tables.QUARANTINE),
            report=report,
        )
