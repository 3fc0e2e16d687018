"""Publishing brings MLflow up to date with what DVC holds.

`live` logs training; everything else is read from files.

Nothing is published twice: a run that is complete stays as it is, and one that is not is completed. The run
of an arm is found by its content (see `pipelines.tracking.dvc_lock`), and is below the flow run that wrote to
it last. A parent run has the starting policy below it, and names the arms of its comparison that are not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.figures import arm_figures
from pipelines.report.results import BASE
from pipelines.tracking import dvc_lock, run_data, unpublished
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Evaluation, read_evaluations
from pipelines.tracking.lineage.contributions import read_lineage
from pipelines.tracking.lineage.synchronisation import index_of
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.pages.parent_page import show_comparison, write_report
from pipelines.tracking.pages.screens import save_views
from pipelines.tracking.run_data import ArmRecord
from pipelines.tracking.run_hierarchy import ParentRun, open_arm_run, open_base_run
from pipelines.tracking.run_layout import (
    COMMIT_TAG,
    COMPLETE_TAG,
    EVALUATION_TAG,
    LINEAGE_TAG,
    MODEL_LINEAGE_FILE,
    RECIPE_TAG,
    SAMPLES_FILE,
    SCORES_FILE,
    TRAINED_ON_FILE,
)
from pipelines.tracking.run_writer import RunWriter
from pipelines.tracking.source import source_of
from pipelines.tracking.unpublished import FlowRun


@dataclass
class Published:
    """The arms of a publication, by what was done."""

    created: list[str] = field(default_factory=list)
    """Published from files alone: trained while the server was down, or restored by DVC."""
    completed: list[str] = field(default_factory=list)
    """Logged while they trained, or begun by a publication that was cut short; the rest was added."""
    evaluated: list[str] = field(default_factory=list)
    """Only the evaluation had changed."""
    moved: list[str] = field(default_factory=list)
    """Complete, but below a flow run that did not end; they are now below this one."""
    elsewhere: list[str] = field(default_factory=list)
    """Another checkout publishes the same arm at this moment."""
    unchanged: list[str] = field(default_factory=list)
    parent: str | None = None
    """Id of the parent run; None where nothing was to be published."""
    runs: dict[str, str] = field(default_factory=dict)
    """Arm -> id of its run."""

    @property
    def changed(self) -> bool:
        return bool(self.created or self.completed or self.evaluated or self.moved)

    def __str__(self) -> str:
        outcomes = {name: arms for name, arms in vars(self).items() if name not in ("parent", "runs")}
        parts = [f"{name}: {', '.join(arms)}" for name, arms in outcomes.items() if arms]
        return "; ".join(parts) or "nothing to publish"


def publish(
    root: Path, flow_run: str | None = None, name: str | None = None, status: str = "FINISHED"
) -> Published:
    """Publish what dvc.lock and the files hold and MLflow lacks.

    flow_run: identifies the parent run, which is called `name`; by default the flow run whose publication was
    begun and not completed, or else a new run for this publication.
    status: how the flow run ended, FINISHED or FAILED.

    Raises TrackingError where MLflow fails, InputError where a file to be published is missing.
    """
    params, lock = load_params(root / paths.PARAMS), dvc_lock.read_lock(root)
    given = FlowRun(flow_run, name or flow_run, status) if flow_run else None
    left = unpublished.read_unpublished(root)
    if given:
        unpublished.keep_unpublished(root, given)
        if given.status == "FINISHED":
            # The page says what was compared even where MLflow is down.
            write_report(root, source_of(root, given.id).tags())
    with tracking_errors(root):
        store = Store(root, params.tracking.experiment)
        with store.exclusive():
            flow = _responsible(store, given, left)
            parent = ParentRun(store, root, flow.id, flow.name)
            unpublished.keep_unpublished(root, flow)
            published = _publish_all(store, root, parent, params, lock, whole=flow.status == "FINISHED")
            parent.close(flow.status)
    unpublished.forget_unpublished(root)
    return published


def _responsible(store: Store, given: FlowRun | None, left: FlowRun | None) -> FlowRun:
    """The flow run that made what is to be published.

    A flow run without a run in MLflow has trained nothing, so what an earlier one left is that one's.
    """
    if left and (given is None or store.find_by_flow_run(given.id) is None):
        return left
    return given or unpublished.new_publication()


def _publish_all(
    store: Store, root: Path, parent: ParentRun, params: Params, lock: Lock, whole: bool
) -> Published:
    """whole: no stage failed, so that the parent run shows a comparison of all arms."""
    published = Published()
    trained = run_data.trained_arms(root, lock)
    arms = [arm for arm in params.arms if arm in trained]
    evaluations = read_evaluations(root, arms, lock)
    runs: dict[str, Run] = {}
    for arm in arms:
        record = run_data.describe(root, arm, lock[f"train@{arm}"], lock)
        outcome, runs[arm] = _publish_arm(store, root, parent, record, evaluations[arm], lock)
        if whole and outcome == "unchanged" and parent.lost(runs[arm]):
            store.move(runs[arm], parent.get())
            outcome = "moved"
        getattr(published, outcome).append(arm)
        published.runs[arm] = runs[arm].info.run_id
    index_of(store)  # A lost index is built again even where nothing is new.
    if published.changed or parent.find():
        published.parent = parent.get().info.run_id
        if evaluation := evaluations[BASE]:
            base = str(dvc_lock.output_hash(lock, str(paths.BASE_MODEL)))
            runs = {BASE: _publish_base(store, parent, base, evaluation), **runs}
        show_comparison(store, parent.get(), root, evaluations, runs, whole)
        save_views(store, list(params.curate.benchmarks), published.parent)
    return published


def _publish_arm(
    store: Store,
    root: Path,
    parent: ParentRun,
    record: ArmRecord,
    evaluation: Evaluation | None,
    lock: Lock,
) -> tuple[str, Run]:
    """Name of the list in `Published` that the arm belongs to, and its run."""
    run = store.find_by_content(record.content)
    if run and store.busy(run):
        return "elsewhere", run
    tags = run.data.tags if run else {}
    complete = COMPLETE_TAG in tags
    evaluated = evaluation is None or tags.get(EVALUATION_TAG) == evaluation.content
    if run and complete and evaluated:
        RunWriter(store, run).numbers(record.distance)
        return "unchanged", run
    outcome = "evaluated" if complete else "completed" if run else "created"
    writer = RunWriter(store, open_arm_run(store, parent, record, run))
    if store.busy(writer.run):
        return "elsewhere", writer.run  # Another host has just created it.
    steps = run_data.training_steps(root, record.arm)
    if not complete:
        writer.params(record.params)
        writer.steps(steps, logged=set() if outcome == "created" else writer.logged())
        writer.datasets(record.datasets)
        writer.numbers(record.distance)
        _publish_lineage(store, writer, root, record, lock)
        writer.figures(arm_figures(root, record.arm))
    if evaluation is not None and not evaluated:
        model = writer.model(
            record.arm, int(steps[-1]["step"]), {"arm": record.arm, "content": record.content}
        )
        _publish_evaluation(writer, evaluation, int(steps[-1]["step"]), model)
    if store.settle(writer.run, record.content).info.run_id != writer.run.info.run_id:
        return "elsewhere", writer.run
    if not complete and evaluation is not None:
        # This is written last, so that the next publication completes an interrupted one.
        writer.tag(COMPLETE_TAG, "true")
    store.end(writer.run, "FINISHED")
    return outcome, writer.run


def _publish_lineage(store: Store, writer: RunWriter, root: Path, record: ArmRecord, lock: Lock) -> None:
    """Write what the arm was made from to its run and to the index."""
    tags = writer.run.data.tags
    lineage, times = read_lineage(root, record, lock, tags[RECIPE_TAG], tags[COMMIT_TAG])
    writer.text(MODEL_LINEAGE_FILE, lineage.to_json())
    writer.text(TRAINED_ON_FILE, json.dumps(times, sort_keys=True))
    writer.tag(LINEAGE_TAG, "true")
    index_of(store).add([(writer.run.info.run_id, lineage, times)])


def _publish_evaluation(writer: RunWriter, evaluation: Evaluation, step: int, model: str) -> None:
    """Write the final metrics, linked to the model and to the benchmark that they were measured on."""
    writer.evaluation("eval", evaluation.metrics, evaluation.datasets, step, model)
    writer.tags({name: str(value) for name, value in evaluation.constants.items()})
    writer.file(str(evaluation.path), "eval")
    writer.text(SCORES_FILE, json.dumps(evaluation.scores))
    writer.table(SAMPLES_FILE, evaluation.samples)
    writer.settings(evaluation.settings)
    writer.tag(EVALUATION_TAG, evaluation.content)


def _publish_base(store: Store, parent: ParentRun, base: str, evaluation: Evaluation) -> Run:
    """The run of the starting policy below the parent, with its evaluation."""
    writer = RunWriter(store, open_base_run(store, parent, base))
    if writer.run.data.tags.get(EVALUATION_TAG) != evaluation.content:
        _publish_evaluation(writer, evaluation, 0, writer.model(BASE, 0, {"arm": BASE}))
    store.end(writer.run, "FINISHED")
    return writer.run
