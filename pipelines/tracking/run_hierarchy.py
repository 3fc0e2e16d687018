"""The runs of MLflow: a parent for each flow run, and below it one for the starting policy and each arm."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from pipelines.report.results import BASE
from pipelines.tracking.checkout import checkout_id, owner_tags
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.run_data import ArmRecord
from pipelines.tracking.run_layout import (
    BASE_TAG,
    CHECKOUT_TAG,
    CONTENT_TAG,
    FLOW_RUN_TAG,
    HASH_WITHOUT_SEED_TAG,
    PARENT_TAG,
)
from pipelines.tracking.run_writer import RunWriter
from pipelines.tracking.source import source_of


class ParentRun:
    """The run of a flow run, which is created when something first needs it."""

    def __init__(self, store: Store, root: Path, flow_run: str, name: str | None = None) -> None:
        self._store, self._root, self._flow_run, self._name = store, root, flow_run, name or flow_run
        self._run: Run | None = None

    def find(self) -> Run | None:
        """The existing run."""
        self._run = self._run or self._store.find_by_flow_run(self._flow_run)
        return self._run

    def get(self) -> Run:
        """The existing run, or a new one."""
        run = self.find()
        if run is None:
            self._run = run = self._store.create(self._name, {FLOW_RUN_TAG: self._flow_run, **self.tags()})
        elif run.info.status != "RUNNING":
            self._store.resume(run)
            self._run = run = self._store.client.get_run(run.info.run_id)
        return run

    def tags(self) -> dict[str, str]:
        """Tags of every run that this flow run creates."""
        return {**source_of(self._root, self._flow_run).tags(), **owner_tags(self._root)}

    def close(self, status: str) -> None:
        """End the run, if there is one, and end the runs of arms whose training failed."""
        run = self.find()
        if run is None:
            return
        for child in self._store.children(run):
            if child.info.status == "RUNNING":
                self._store.end(child, "FAILED")
        self._store.end(run, status)

    def lost(self, child: Run) -> bool:
        """Whether the parent of a finished run never came to an end, or is gone: it compares nothing."""
        parent = self._store.find(child.data.tags.get(PARENT_TAG, ""))
        if parent is None:
            return True
        if parent.data.tags.get(FLOW_RUN_TAG) == self._flow_run:
            return False
        # Another checkout may be about to finish its own.
        ours = parent.data.tags.get(CHECKOUT_TAG) in (None, checkout_id(self._root))
        return parent.info.status in ("KILLED", "FAILED") or (parent.info.status == "RUNNING" and ours)


def open_arm_run(store: Store, parent: ParentRun, record: ArmRecord, unfinished: Run | None) -> Run:
    """The run of an arm below `parent`: the unfinished one of the same content, or a new one."""
    if unfinished is not None:
        store.move(unfinished, parent.get())
        store.resume(unfinished)
        return unfinished
    tags = {
        PARENT_TAG: parent.get().info.run_id,
        "provenance": record.arm,
        "provenance.mix": json.dumps(record.mix, sort_keys=True),
        **parent.tags(),
        "dvc.experts": record.experts,
        BASE_TAG: record.base,
        CONTENT_TAG: record.content,
        HASH_WITHOUT_SEED_TAG: record.hash_without_seed,
    }
    run = store.create_once(record.arm, tags, record.content)
    if not store.busy(run):
        RunWriter(store, run).params(record.params)
    return run


def open_base_run(store: Store, parent: ParentRun, base: str) -> Run:
    """The run of the starting policy below `parent`, in the same table as the arms; base: its DVC hash.

    It is moved from below a flow run that did not end.
    """
    of_policy = {"provenance": BASE, BASE_TAG: base}
    for run in store.tagged({**of_policy, PARENT_TAG: parent.get().info.run_id}):
        return run
    # Every night has such a run, and only that of the last one can be of a flow run that did not end.
    for run in islice(store.newest_first(of_policy), 1):
        if parent.lost(run):
            store.move(run, parent.get())
            store.resume(run)
            return run
    tags = {
        PARENT_TAG: parent.get().info.run_id,
        "provenance": BASE,
        # At the first visit MLflow's page unfolds the parents of runs of this type.
        "mlflow.runType": "evaluation",
        **parent.tags(),
        BASE_TAG: base,
    }
    run = store.create(BASE, tags)
    RunWriter(store, run).params({"provenance": BASE})
    return run
