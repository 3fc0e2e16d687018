"""The runs of `hpt lab` in MLflow: one parent for each study, and below it one run for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tracking.checkout import owner_tags
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.run_data import flatten
from pipelines.tracking.run_layout import COMPLETE_TAG, PARENT_TAG
from pipelines.tracking.run_writer import RunWriter
from pipelines.tracking.source import present_source

STUDY_TAG, CELL_TAG = "hpt.study", "hpt.cell"
"""Tags of a parent, and of the run of a cell: the name of the study, and the hash of what the cell is made
from."""
PARENT = "parent"


@dataclass(frozen=True)
class CellRecord:
    """What is published of a cell."""

    study: str
    content: str
    name: str
    tags: Mapping[str, str]
    """Names of its row in the table of the study."""
    params: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    """The metrics of every step."""
    metrics: Mapping[str, float]


def publish_cells(root: Path, experiment: str, records: Sequence[CellRecord]) -> None:
    """Publish the cells that MLflow lacks or has in part. Raises TrackingError where MLflow fails.

    They are in an experiment of their own, so that no comparison of nights takes them in.
    """
    if not records:
        return
    with tracking_errors(root):
        store = Store(root, f"{experiment}-lab")
        with store.exclusive():
            for record in records:
                _publish(store, root, record)


def _publish(store: Store, root: Path, record: CellRecord) -> None:
    run = next(iter(store.tagged({CELL_TAG: record.content})), None)
    if run and COMPLETE_TAG in run.data.tags:
        return
    if run is None:
        tags = {
            **_tags(root, record.study),
            PARENT_TAG: _parent(store, root, record.study).info.run_id,
            CELL_TAG: record.content,
            **record.tags,
        }
        run = store.create(record.name, tags)
    writer = RunWriter(store, run)
    writer.params(flatten(record.params))
    writer.steps(record.steps, writer.logged())
    writer.numbers(record.metrics)
    writer.tag(COMPLETE_TAG, "true")
    store.end(run, "FINISHED")


def _parent(store: Store, root: Path, study: str) -> Run:
    found = store.tagged({STUDY_TAG: study, CELL_TAG: PARENT})
    if found:
        return found[0]
    run = store.create(study, {**_tags(root, study), CELL_TAG: PARENT})
    store.end(run, "FINISHED")
    return run


def _tags(root: Path, study: str) -> dict[str, str]:
    return {STUDY_TAG: study, **present_source(root).tags(), **owner_tags(root)}
