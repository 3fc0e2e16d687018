"""The runs of MLflow: one parent run for each flow run, and below it one run for each arm."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.tracking import run_data
from pipelines.tracking.checkout import owner_tags
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.run_data import ArmRecord
from pipelines.tracking.run_layout import (
    COMMIT_TAG,
    CONTENT_TAG,
    FLOW_RUN_TAG,
    HASH_WITHOUT_SEED_TAG,
    PARENT_TAG,
    RECIPE_TAG,
)
from pipelines.tracking.run_writer import RunWriter


class ParentRun:
    """The run of a flow run, which is created when something first needs it."""

    def __init__(self, store: Store, root: Path, flow_run: str, name: str | None = None) -> None:
        self._store, self._root, self._flow_run, self._name = store, root, flow_run, name or flow_run
        self._run: Run | None = None

    def get(self) -> Run:
        """The existing run, or a new one."""
        self._run = self._run or self._store.find_by_flow_run(self._flow_run)
        if self._run is None:
            tags = {FLOW_RUN_TAG: self._flow_run, **_source_tags(self._root)}
            self._run = self._store.create(self._name, tags)
        elif self._run.info.status != "RUNNING":
            self._store.resume(self._run)
        return self._run

    def close(self, status: str) -> None:
        """End the run, if there is one, and end the runs of arms whose training failed."""
        run = self._run or self._store.find_by_flow_run(self._flow_run)
        if run is None:
            return
        for arm_run in self._store.children(run):
            if arm_run.info.status == "RUNNING":
                self._store.end(arm_run, "FAILED")
        self._store.end(run, status)


def open_arm_run(store: Store, root: Path, record: ArmRecord, unfinished: Run | None, parent: Run) -> Run:
    """The run of an arm below `parent`: the unfinished one of the same content, or a new one."""
    if unfinished is not None:
        store.move(unfinished, parent)
        store.resume(unfinished)
        return unfinished
    tags = {
        PARENT_TAG: parent.info.run_id,
        "provenance": record.arm,
        "provenance.mix": json.dumps(record.mix, sort_keys=True),
        **_source_tags(root),
        "dvc.experts": record.experts,
        CONTENT_TAG: record.content,
        HASH_WITHOUT_SEED_TAG: record.hash_without_seed,
    }
    run = store.create(record.arm, tags)
    RunWriter(store, run).params(record.params)
    return run


def _source_tags(root: Path) -> dict[str, str]:
    return {RECIPE_TAG: run_data.recipe(root), COMMIT_TAG: run_data.commit(root), **owner_tags(root)}
