"""MLflow as a view of what DVC holds: `live` logs training, publishing fills in the rest from files.

One parent run per flow run, one child per arm, found again by its `content` (see
`pipelines.tracking.dvc_lock`).
Nothing is published twice: a run that is whole is left alone, one that is not is completed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from pipelines.params import load_params
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.lineage_index import MODEL_LINEAGE, TRAINED_ON
from pipelines.tracking.mlflow_store import COMPLETE, HASH_WITHOUT_SEED, LINEAGE, SCORES, Store
from pipelines.tracking.run_data import ArmRecord, Dataset, Evaluation

FLOW_RUN = "HPT_FLOW_RUN"
"""Set by the flow for its stages: the id of the flow run, which keys the parent run."""
FLOW_RUN_NAME = "HPT_FLOW_RUN_NAME"
UNREACHABLE = (MlflowException, OperationalError, ConnectionError, TimeoutError)
"""OperationalError: of a database, before MLflow wraps it. A file missing here is no fault of MLflow's."""
EVALUATION = "content.evaluation"
NOTE, NOTE_LENGTH = "mlflow.note.content", 8000
"""The tag that holds a run's description, and how long a tag may be."""


@dataclass
class Published:
    """What publishing did, by arm."""

    created: list[str] = field(default_factory=list)
    """Whole from files: trained while the server was down, or restored by DVC."""
    completed: list[str] = field(default_factory=list)
    """Logged live, the rest added."""
    evaluated: list[str] = field(default_factory=list)
    """Only the evaluation had changed."""
    unchanged: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.created or self.completed or self.evaluated)

    def __str__(self) -> str:
        parts = [f"{name}: {', '.join(arms)}" for name, arms in vars(self).items() if arms]
        return "; ".join(parts) or "nothing to publish"


def publish(
    root: Path, flow_run: str | None = None, name: str | None = None, status: str = "FINISHED"
) -> Published:
    """Bring MLflow up to what dvc.lock and the files say.

    Raises one of UNREACHABLE where MLflow fails, InputError where a file to be published is missing.

    flow_run: keys the parent run, which is called `name`; by default a run for this publication alone.
    status: MLflow's word for how the flow run ended, FINISHED or FAILED.
    """
    params, lock = load_params(root / "params.yaml"), dvc_lock.read_lock(root)
    store, done = Store(root, params.tracking.experiment), Published()
    parent = Parent(store, root, flow_run or f"publish-{os.urandom(4).hex()}", name)
    with store.exclusive():
        trained = run_data.trained_arms(root, lock)
        arms = [arm for arm in params.arms if arm in trained]
        evaluations = {name: run_data.read_evaluation(root, name, lock) for name in ("base", *arms)}
        for arm in arms:
            record = run_data.describe(root, arm, lock[f"train@{arm}"], lock)
            getattr(done, _publish_arm(store, root, parent, record, evaluations[arm], lock)).append(arm)
        store.index()  # where it was lost, nothing need be new
        if done.changed:
            _publish_parent(store, root, parent.run, evaluations)
        parent.close(status)
    return done


class Parent:
    """The run of a flow run: looked up, or created when something first needs it."""

    def __init__(self, store: Store, root: Path, flow_run: str, name: str | None = None) -> None:
        self._store, self._root, self._key, self._name = store, root, flow_run, name or flow_run
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        self._run = self._run or self._store.find(flow_run=self._key)
        if self._run is None:
            tags = {"hpt.flow_run": self._key, "git.commit": run_data.commit(self._root)}
            tags["recipe"] = run_data.recipe(self._root)
            self._run = self._store.create(self._name, tags)
        return self._run

    def close(self, status: str) -> None:
        """End the run, where there is one, and the runs of arms that did not get through training."""
        run = self._run or self._store.find(flow_run=self._key)
        if run is None:
            return
        for child in self._store.children(run):
            if child.info.status == "RUNNING":
                self._store.end(child, "FAILED")
        self._store.end(run, status)


def child(store: Store, root: Path, record: ArmRecord, run: Run | None, parent: Run) -> Run:
    """The run of an arm under its flow's parent: new, or an unfinished one of the same content."""
    if run is not None:
        store.adopt(run, parent)
        return run
    tags = {
        "mlflow.parentRunId": parent.info.run_id,
        "provenance": record.arm,
        "provenance.mix": json.dumps(record.mix, sort_keys=True),
        "recipe": run_data.recipe(root),
        "git.commit": run_data.commit(root),
        "dvc.experts": record.experts,
        "content": record.content,
        HASH_WITHOUT_SEED: record.but_seed,
    }
    run = store.create(record.arm, tags)
    _log_params(store, run, record)
    return run


def _log_params(store: Store, run: Run, record: ArmRecord) -> None:
    missing = [Param(k, v) for k, v in record.params.items() if k not in run.data.params]
    store.client.log_batch(run.info.run_id, params=missing)


def _publish_arm(
    store: Store,
    root: Path,
    parent: Parent,
    record: ArmRecord,
    evaluation: Evaluation | None,
    lock: Mapping[str, Any],
) -> str:
    """Name of the list in `Published` that the arm belongs to."""
    run = store.find(content=record.content)
    tags = run.data.tags if run else {}
    whole = COMPLETE in tags
    evaluated = evaluation is None or tags.get(EVALUATION) == evaluation.content
    if whole and evaluated:
        return "unchanged"
    outcome = "evaluated" if whole else "completed" if run else "created"
    # Something is to be published, so the flow run gets its parent even where no child is new.
    run = run or child(store, root, record, None, parent.run)
    steps = run_data.read_steps(root, record.arm)
    if not whole:
        _log_params(store, run, record)
        store.log_steps(run, steps, known=store.known(run) if outcome == "completed" else set())
        store.log_datasets(run, record.datasets)
        _log_lineage(store, root, run, record, lock)
    if evaluation is not None and not evaluated:
        _log_evaluation(store, run, evaluation, int(steps[-1]["step"]), record)
    if not whole and evaluation is not None:
        # Last: a publication that is cut short before this line is taken up again by the next.
        store.client.set_tag(run.info.run_id, COMPLETE, "true")
    store.end(run, "FINISHED")
    return outcome


def _log_lineage(store: Store, root: Path, run: Run, record: ArmRecord, lock: Mapping[str, Any]) -> None:
    """What the arm was made from, in its run and in the index."""
    tags = run.data.tags
    made, times = run_data.made_from(root, record, lock, tags["recipe"], tags["git.commit"])
    store.client.log_text(run.info.run_id, made.to_json(), MODEL_LINEAGE)
    store.client.log_text(run.info.run_id, json.dumps(times, sort_keys=True), TRAINED_ON)
    store.client.set_tag(run.info.run_id, LINEAGE, "true")
    store.index().add([(run.info.run_id, made, times)])


def _log_evaluation(store: Store, run: Run, evaluation: Evaluation, step: int, record: ArmRecord) -> None:
    """Final metrics, linked to the model and to the benchmark that they were measured on."""
    model = store.model(run, record.arm, step, {"arm": record.arm, "content": record.content})
    store.log_datasets(run, list(evaluation.datasets.values()))
    metrics = [
        _metric(f"eval/{benchmark}/{name}", value, step, evaluation.datasets[benchmark], model)
        for benchmark, results in evaluation.metrics.items()
        for name, value in results.items()
    ]
    store.client.log_batch(run.info.run_id, metrics=metrics)
    store.client.log_artifact(run.info.run_id, str(evaluation.path), "eval")
    store.client.log_text(run.info.run_id, json.dumps(evaluation.scores), SCORES)
    store.log_table(run, "samples.json", evaluation.samples)
    store.client.set_tag(run.info.run_id, EVALUATION, evaluation.content)


def _publish_parent(
    store: Store, root: Path, parent: Run, evaluations: Mapping[str, Evaluation | None]
) -> None:
    """The starting policy's evaluation, and what compares all arms: samples, report, verdict."""
    base = evaluations["base"]
    if base is not None and EVALUATION not in parent.data.tags:
        metrics = [
            _metric(f"base/{benchmark}/{name}", value, 0, base.datasets[benchmark])
            for benchmark, results in base.metrics.items()
            for name, value in results.items()
        ]
        store.log_datasets(parent, list(base.datasets.values()))
        store.client.log_text(parent.info.run_id, json.dumps(base.scores), SCORES)
        store.client.log_batch(parent.info.run_id, metrics=metrics)
        store.client.set_tag(parent.info.run_id, EVALUATION, base.content)
    if samples := {name: found.samples for name, found in evaluations.items() if found is not None}:
        store.log_table(parent, "samples.json", run_data.side_by_side(samples))
    for path in existing(root, "reports/provenance.html", "metrics/compare.json"):
        store.client.log_artifact(parent.info.run_id, str(path), "report")
    if verdicts := run_data.read_verdicts(root):
        # MLflow shows it, as Markdown, on top of the run's page.
        store.client.set_tag(
            parent.info.run_id, NOTE, "\n".join(f"- {line}" for line in verdicts)[:NOTE_LENGTH]
        )


def existing(root: Path, *paths: str) -> Iterator[Path]:
    return (root / path for path in paths if (root / path).exists())


def _metric(key: str, value: float, step: int, dataset: Dataset, model: str | None = None) -> Metric:
    return Metric(
        key,
        value,
        Store.now(),
        step,
        model_id=model,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
    )
