"""Publishing brings MLflow up to date with what DVC holds.

`live` logs training; everything else is read from files.

Nothing is published twice: a run that is complete stays as it is, and one that is not is completed. The run
of an arm is found by its content (see `pipelines.tracking.dvc_lock`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.figures import arm_figures, figures
from pipelines.report.results import BASE
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import (
    Evaluation,
    read_evaluations,
    read_verdicts,
    side_by_side,
)
from pipelines.tracking.lineage.contributions import read_lineage
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.run_data import ArmRecord
from pipelines.tracking.run_hierarchy import ParentRun, open_arm_run
from pipelines.tracking.run_layout import (
    COMMIT_TAG,
    COMPLETE_TAG,
    EVALUATION_TAG,
    LINEAGE_TAG,
    MODEL_LINEAGE_FILE,
    NOTE_TAG,
    RECIPE_TAG,
    SAMPLES_FILE,
    SCORES_FILE,
    SETTINGS_TAG,
    TRAINED_ON_FILE,
)
from pipelines.tracking.run_writer import RunWriter

log = logging.getLogger(__name__)

NOTE_LENGTH = 8000
"""MLflow accepts no longer value of a tag."""


@dataclass
class Published:
    """The arms of a publication, by what was done."""

    created: list[str] = field(default_factory=list)
    """Published from files alone: trained while the server was down, or restored by DVC."""
    completed: list[str] = field(default_factory=list)
    """Logged while they trained; the rest was added."""
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
    """Publish what dvc.lock and the files hold and MLflow lacks.

    flow_run: identifies the parent run, which is called `name`; by default a new run for this publication.
    status: how the flow run ended, FINISHED or FAILED.

    Raises TrackingError where MLflow fails, InputError where a file to be published is missing.
    """
    params, lock = load_params(root / paths.PARAMS), dvc_lock.read_lock(root)
    with tracking_errors(root):
        store = Store(root, params.tracking.experiment)
        parent = ParentRun(store, root, flow_run or f"publish-{os.urandom(4).hex()}", name)
        with store.exclusive():
            published = _publish_all(store, root, parent, params, lock)
            parent.close(status)
    return published


def _publish_all(store: Store, root: Path, parent: ParentRun, params: Params, lock: Lock) -> Published:
    published = Published()
    trained = run_data.trained_arms(root, lock)
    arms = [arm for arm in params.arms if arm in trained]
    evaluations = read_evaluations(root, arms, lock)
    for arm in arms:
        record = run_data.describe(root, arm, lock[f"train@{arm}"], lock)
        outcome = _publish_arm(store, root, parent, record, evaluations[arm], lock)
        getattr(published, outcome).append(arm)
    store.index()  # A lost index is built again even where nothing is new.
    if published.changed:
        _publish_parent(RunWriter(store, parent.get()), root, evaluations)
    return published


def _publish_arm(
    store: Store,
    root: Path,
    parent: ParentRun,
    record: ArmRecord,
    evaluation: Evaluation | None,
    lock: Lock,
) -> str:
    """Name of the list in `Published` that the arm belongs to."""
    run = store.find_by_content(record.content)
    tags = run.data.tags if run else {}
    complete = COMPLETE_TAG in tags
    evaluated = evaluation is None or tags.get(EVALUATION_TAG) == evaluation.content
    if complete and evaluated:
        return "unchanged"
    outcome = "evaluated" if complete else "completed" if run else "created"
    # Something is published, so the flow run gets its parent run even where no run of an arm is new.
    parent_run = parent.get()
    # An arm belongs to the flow run that finished it, whichever began it.
    writer = RunWriter(store, run if run and complete else open_arm_run(store, root, record, run, parent_run))
    steps = run_data.training_steps(root, record.arm)
    if not complete:
        writer.params(record.params)
        writer.steps(steps, logged=writer.logged() if outcome == "completed" else set())
        writer.datasets(record.datasets)
        _publish_lineage(store, writer, root, record, lock)
        writer.figures(arm_figures(root, record.arm))
    if evaluation is not None and not evaluated:
        _publish_evaluation(writer, evaluation, int(steps[-1]["step"]), record)
    if not complete and evaluation is not None:
        # This is written last, so that the next publication completes an interrupted one.
        writer.tag(COMPLETE_TAG, "true")
    store.end(writer.run, "FINISHED")
    return outcome


def _publish_lineage(store: Store, writer: RunWriter, root: Path, record: ArmRecord, lock: Lock) -> None:
    """Write what the arm was made from to its run and to the index."""
    tags = writer.run.data.tags
    lineage, times = read_lineage(root, record, lock, tags[RECIPE_TAG], tags[COMMIT_TAG])
    writer.text(MODEL_LINEAGE_FILE, lineage.to_json())
    writer.text(TRAINED_ON_FILE, json.dumps(times, sort_keys=True))
    writer.tag(LINEAGE_TAG, "true")
    store.index().add([(writer.run.info.run_id, lineage, times)])


def _publish_evaluation(writer: RunWriter, evaluation: Evaluation, step: int, record: ArmRecord) -> None:
    """Write the final metrics, linked to the model and to the benchmark that they were measured on."""
    model = writer.model(record.arm, step, {"arm": record.arm, "content": record.content})
    writer.evaluation("eval", evaluation.metrics, evaluation.datasets, step, model)
    writer.file(str(evaluation.path), "eval")
    writer.text(SCORES_FILE, json.dumps(evaluation.scores))
    writer.table(SAMPLES_FILE, evaluation.samples)
    writer.tag(SETTINGS_TAG, json.dumps(evaluation.settings, sort_keys=True))
    writer.tag(EVALUATION_TAG, evaluation.content)


def _publish_parent(writer: RunWriter, root: Path, evaluations: Mapping[str, Evaluation | None]) -> None:
    """Write the evaluation of the base policy and the samples, report, figures and verdicts on all arms."""
    base = evaluations[BASE]
    if base is not None and EVALUATION_TAG not in writer.run.data.tags:
        writer.text(SCORES_FILE, json.dumps(base.scores))
        writer.evaluation("base", base.metrics, base.datasets, 0)
        writer.tag(SETTINGS_TAG, json.dumps(base.settings, sort_keys=True))
        writer.tag(EVALUATION_TAG, base.content)
    samples = {policy: e.samples for policy, e in evaluations.items() if e is not None}
    if samples:
        writer.table(SAMPLES_FILE, side_by_side(samples))
    for path in (paths.REPORT, paths.COMPARISON):
        if (root / path).exists():
            writer.file(str(root / path), "report")
    try:
        writer.figures(figures(root))
    except InputError as error:
        # After a failed stage, metrics/compare.json may still compare arms or benchmarks that are gone.
        log.warning("The figures of the comparison are not published: %s", error)
    if verdicts := read_verdicts(root):
        writer.tag(NOTE_TAG, "\n".join(f"- {verdict}" for verdict in verdicts)[:NOTE_LENGTH])
