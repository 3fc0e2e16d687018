"""Publishing brings MLflow up to date with what DVC holds.

`live` logs training; everything else is read from files.

Nothing is published twice: a run that is complete stays as it is, and one that is not is completed. The run
of an arm is found by its content (see `pipelines.tracking.dvc_lock`), and is below the flow run that wrote to
it last. A parent run has the starting policy below it, and names the arms of its comparison that are not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.comparison_file import read_comparison
from pipelines.report.figures import arm_figures, figures
from pipelines.report.results import BASE
from pipelines.tracking import dvc_lock, run_data, unpublished
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import (
    Evaluation,
    read_evaluations,
    read_verdicts,
    side_by_side,
)
from pipelines.tracking.lineage.contributions import read_lineage
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import TAG_LENGTH, Run, Store
from pipelines.tracking.run_data import ArmRecord
from pipelines.tracking.run_hierarchy import ParentRun, open_arm_run, open_base_run
from pipelines.tracking.run_layout import (
    COMMIT_TAG,
    COMPARISON_TAG,
    COMPLETE_TAG,
    EVALUATION_TAG,
    LINEAGE_TAG,
    MODEL_LINEAGE_FILE,
    NOTE_TAG,
    PARENT_TAG,
    RECIPE_TAG,
    SAMPLES_FILE,
    SCORES_FILE,
    TRAINED_ON_FILE,
)
from pipelines.tracking.run_writer import RunWriter
from pipelines.tracking.screens import run_link, save_views
from pipelines.tracking.standing import Standing, standings
from pipelines.tracking.unpublished import FlowRun

log = logging.getLogger(__name__)


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

    @property
    def changed(self) -> bool:
        return bool(self.created or self.completed or self.evaluated or self.moved)

    def __str__(self) -> str:
        outcomes = {name: arms for name, arms in vars(self).items() if name != "parent"}
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
    store.index()  # A lost index is built again even where nothing is new.
    if published.changed or parent.find():
        published.parent = parent.get().info.run_id
        if evaluation := evaluations[BASE]:
            base = str(dvc_lock.output_hash(lock, str(paths.BASE_MODEL)))
            runs = {BASE: _publish_base(store, parent, base, evaluation), **runs}
        _publish_parent(store, parent.get(), root, evaluations, runs)
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
    store.index().add([(writer.run.info.run_id, lineage, times)])


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


def _publish_parent(
    store: Store,
    parent: Run,
    root: Path,
    evaluations: Mapping[str, Evaluation | None],
    runs: Mapping[str, Run],
) -> None:
    """Write samples, report, figures and verdicts on all policies; runs: policy -> its run."""
    writer = RunWriter(store, parent)
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
    verdicts = read_verdicts(root)
    if verdicts:
        _publish_standings(store, parent, root, runs)
        lines = [*verdicts, *_elsewhere(store, parent, runs)]
        writer.tag(NOTE_TAG, "\n".join(f"- {line}" for line in lines)[:TAG_LENGTH])
    if base := evaluations[BASE]:
        writer.tag(EVALUATION_TAG, base.content)


def _publish_standings(store: Store, parent: Run, root: Path, runs: Mapping[str, Run]) -> None:
    """Write to each policy's run where it stands in this comparison, whichever flow run it is below."""
    comparison = standings(read_comparison(root))
    for policy, run in runs.items():
        writer = RunWriter(store, store.client.get_run(run.info.run_id))
        standing = comparison.get(policy, Standing())
        writer.tags({COMPARISON_TAG: parent.info.run_id, **standing.tags})
        writer.numbers(standing.metrics)
    store.client.set_tag(parent.info.run_id, COMPARISON_TAG, parent.info.run_id)


def _elsewhere(store: Store, parent: Run, runs: Mapping[str, Run]) -> list[str]:
    """A line with a link to each arm of the comparison that an earlier flow run trained."""
    lines = []
    for policy, run in runs.items():
        above = store.client.get_run(run.info.run_id).data.tags.get(PARENT_TAG)
        if above != parent.info.run_id:
            lines.append(
                f"{run_link(store, policy, run.info.run_id)} did not change; it is below an earlier run"
            )
    return lines
