"""The page of a flow run in MLflow: verdicts, report and figures, and where each policy stands."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from hpt_core.errors import InputError
from hpt_core.files import read_text
from pipelines import paths
from pipelines.report.comparison_file import read_comparison
from pipelines.report.figures import figures
from pipelines.report.results import BASE
from pipelines.report.with_run import RunFacts, write_latest
from pipelines.tracking.evaluation_data import Evaluation, read_verdicts, side_by_side
from pipelines.tracking.mlflow_store import TAG_LENGTH, Run, Store
from pipelines.tracking.pages.screens import run_address, run_link
from pipelines.tracking.pages.standing import Standing, standings
from pipelines.tracking.run_layout import (
    COMMIT_TAG,
    COMPARISON_TAG,
    EVALUATION_TAG,
    NOTE_TAG,
    PARENT_TAG,
    RECIPE_TAG,
    SAMPLES_FILE,
)
from pipelines.tracking.run_writer import RunWriter
from pipelines.tracking.source import NO_GIT

log = logging.getLogger(__name__)
IN_MLFLOW = "Run in MLflow"


def show_comparison(
    store: Store,
    parent: Run,
    root: Path,
    evaluations: Mapping[str, Evaluation | None],
    runs: Mapping[str, Run],
    whole: bool,
) -> None:
    """Write samples, report, figures and verdicts on all policies; runs: policy -> its run.

    whole: no stage failed, so that the report is of this flow run.
    """
    writer = RunWriter(store, parent)
    samples = {policy: e.samples for policy, e in evaluations.items() if e is not None}
    if samples:
        writer.table(SAMPLES_FILE, side_by_side(samples))
    if whole:
        write_report(root, parent.data.tags, run_address(store, parent.info.run_id))
    _publish_report(writer, root)
    try:
        writer.figures(figures(root))
    except InputError as error:
        # After a failed stage, metrics/compare.json may still compare arms or benchmarks that are gone.
        log.warning("The figures of the comparison are not published: %s", error)
    if verdicts := read_verdicts(root):
        _publish_standings(store, parent, root, runs)
        report = f"report/{paths.REPORT.name}"
        # MLflow's page folds all but the first lines.
        lines = [
            run_link(store, "The whole report", f"{parent.info.run_id}/artifacts/{report}"),
            *verdicts,
            *_elsewhere(store, parent, runs),
        ]
        writer.tag(NOTE_TAG, "\n".join(f"- {line}" for line in lines)[:TAG_LENGTH])
    if base := evaluations[BASE]:
        writer.tag(EVALUATION_TAG, base.content)


def write_report(root: Path, tags: Mapping[str, str], page: str | None = None) -> None:
    """Write reports/latest.html, the report with date, commit and links, where it lacks the present results.

    tags: those of the flow run, with its commit and recipe. page: the address of its run in MLflow, which is
    written in any case.
    """
    report, latest = root / paths.REPORT, root / paths.LATEST_REPORT
    if not report.exists():
        return
    if page is None and latest.exists() and latest.stat().st_mtime >= report.stat().st_mtime:
        return
    commit = tags[COMMIT_TAG]
    facts = RunFacts(
        finished=datetime.now().astimezone(),
        commit=None if commit == NO_GIT else commit.removesuffix("-dirty"),
        modified=commit.endswith("-dirty"),
        recipe=tags[RECIPE_TAG],
        links={} if page is None else {IN_MLFLOW: page},
    )
    write_latest(root, facts)


def _publish_report(writer: RunWriter, root: Path) -> None:
    """Write the report, with the facts of its run, and the comparison that it shows."""
    report, latest = root / paths.REPORT, root / paths.LATEST_REPORT
    if report.exists():
        writer.text(f"report/{report.name}", read_text(latest if latest.exists() else report))
    if (root / paths.COMPARISON).exists():
        writer.file(str(root / paths.COMPARISON), "report")


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
