"""Builds the lineage of a trained arm: sources, licenses, and how often each trajectory was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.data.demonstrations.selection import entry_of
from hpt_core.tables import GateRow
from pipelines import paths
from pipelines.report.results import read_gate
from pipelines.tracking import dvc_lock
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.lineage.index import ModelLineage, PromptContribution, SourceContribution
from pipelines.tracking.run_data import ArmRecord


def read_lineage(
    root: Path, record: ArmRecord, lock: Lock, recipe: str, commit: str
) -> tuple[ModelLineage, Counter[str]]:
    """What a trained arm was made from, and trajectory_id -> number of steps that trained on it.

    Raises InputError where one of the tables behind it is missing.
    """
    stage = f"train@{record.arm}"
    entries = [lock[name] for name in (*dvc_lock.upstream(lock, stage), stage)]
    files = [file for entry in entries for file in (*entry.get("deps", []), *entry.get("outs", []))]
    times = trained_on(read_gate(record.arm, root))
    columns = ["trajectory_id", "kind", "source", "author", "license"]
    offered = [
        row
        for row in tables.read(root / paths.EXPERTS, columns=columns)
        if entry_of(record.mix, row["kind"], row["source"]) is not None
    ]
    lineage = ModelLineage(
        arm=record.arm,
        content=record.content,
        recipe=recipe,
        commit=commit,
        params=record.params,
        dvc={file["path"]: file["md5"] for file in files},
        prompts=_prompt_contributions(root / paths.TRAIN_PROMPTS),
        trajectories=source_contributions(offered, times),
    )
    return lineage, times


def trained_on(gate: Iterable[GateRow]) -> Counter[str]:
    """trajectory_id -> number of steps that trained on it, from the rows of an arm's gate.parquet."""
    trajectories = [row["trajectory_id"] for row in gate if row["trained"]]
    return Counter(trajectory for trajectory in trajectories if trajectory is not None)


def source_contributions(
    offered: Sequence[Mapping[str, Any]], times: Mapping[str, int]
) -> list[SourceContribution]:
    """The contribution of each source; offered: the rows of experts.parquet that the arm's mix admits."""

    def origin(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
        return row["kind"], row["source"], row["author"], row["license"]

    contributions = []
    for names, rows in groupby(sorted(offered, key=origin), key=origin):
        counts = [times.get(row["trajectory_id"], 0) for row in rows]
        n_trained = sum(count > 0 for count in counts)
        contributions.append(SourceContribution(*names, len(counts), n_trained, sum(counts)))
    return contributions


def _prompt_contributions(path: Path) -> list[PromptContribution]:
    rows = tables.read(path, columns=["source", "license"])
    counts = Counter((row["source"], row["license"]) for row in rows)
    return [{"source": s, "license": li, "prompts": n} for (s, li), n in sorted(counts.items())]
