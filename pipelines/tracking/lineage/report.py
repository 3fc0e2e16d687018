"""What `hpt lineage` prints: what a registered version was made from, or what was trained on a trajectory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core import tables
from hpt_core.errors import InputError
from pipelines import paths
from pipelines.params import load_params
from pipelines.params.sections import TrackingConfig
from pipelines.report import words
from pipelines.report.summary import empty_table
from pipelines.tracking.lineage.index import Index, ModelLineage, TrainedRun
from pipelines.tracking.mlflow_errors import tracking_errors


def version_number(root: Path, model: str) -> int:
    """The number of a version that is named by it, such as 3 or v3, or by an alias, such as champion.

    Raises InputError where there is no such alias, TrackingError where MLflow is needed and fails.
    """
    if (number := model.removeprefix("v")).isdecimal():
        return int(number)
    from pipelines.tracking.mlflow_store import Store

    tracking = load_params(root / paths.PARAMS).tracking
    with tracking_errors(root):
        aliases = Store(root, tracking.experiment).aliases(tracking.registered_model)
    if model not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise InputError(f"{tracking.registered_model}: no version or alias {model!r}; aliases: {known}")
    return int(aliases[model])


def print_version(console: Console, root: Path, number: int, full: bool = True) -> None:
    """Run, commit, sources, licenses, counts and DVC hashes of a registered version.

    full: also the hash of each file of the code, and every parameter.

    Raises InputError where there is no such version, TrackingError where MLflow is needed and fails.
    """
    tracking, index = _index(root)
    versions = index.versions(tracking.registered_model)
    if number not in versions:
        existing = ", ".join(f"v{version}" for version in versions)
        raise InputError(
            f"{tracking.registered_model}: no version {number}; "
            f"{f'it has {existing}' if versions else 'nothing is registered'}"
        )
    lineage = index.lineage(versions[number])
    if lineage is None:
        raise InputError(
            f"{tracking.registered_model} v{number}: its run {versions[number]} has no lineage; it was "
            "registered by hand, or published by an older release: see the run in MLflow"
        )
    _line(console, f"{tracking.registered_model} v{number}", f"arm {lineage.arm}, recipe {lineage.recipe}")
    _line(console, "run", versions[number])
    _line(console, "commit", lineage.commit)
    _line(console, "content", lineage.content)
    console.print(_trajectories(lineage), _prompts(lineage))
    code = {path: md5 for path, md5 in lineage.dvc.items() if path.endswith(".py")}
    data = {path: md5 for path, md5 in lineage.dvc.items() if full or path not in code}
    for title, values in (("DVC hashes", data), ("parameters", lineage.params if full else {})):
        if values:
            console.print(Text(title, style="bold"))
        for key, value in sorted(values.items()):
            _line(console, f"  {key}", value)
    if not full:
        counts = f"{len(code)} files of code and {len(lineage.params)} parameters"
        _line(console, "not shown:", f"{counts}; add --full")


def print_trajectory(console: Console, root: Path, trajectory: str) -> None:
    """Every published run that trained on a trajectory, with the versions registered from it.

    Raises InputError for an id that nothing has, TrackingError where MLflow is needed and fails.
    """
    _, index = _index(root)
    n_published, runs = len(index.runs()), index.trained_on(trajectory)
    if not runs and not _is_known(root, trajectory):
        raise InputError(
            f"{trajectory}: no published run trained on it, and {paths.EXPERTS} has no such trajectory_id"
        )
    versions = [version for run in runs for version in run.versions]
    console.print(
        Text(
            f"{trajectory}: {len(runs)} of {n_published} published runs trained on it; "
            f"registered models: {', '.join(versions) or 'none'}"
        )
    )
    for line in _run_lines(runs) if runs else []:
        console.print(Text(line.rstrip()), soft_wrap=True)


def _index(root: Path) -> tuple[TrackingConfig, Index]:
    """The index, updated first if a tracking server is named, because others may publish to it."""
    tracking = load_params(root / paths.PARAMS).tracking
    index = Index(root, tracking.experiment)
    if not index.complete or os.environ.get("MLFLOW_TRACKING_URI"):
        from pipelines.tracking.lineage.synchronisation import synchronise
        from pipelines.tracking.mlflow_store import Store

        with tracking_errors(root):
            synchronise(Store(root, tracking.experiment), index)
    return tracking, index


def _is_known(root: Path, trajectory: str) -> bool:
    """Whether the present demonstrations have this trajectory."""
    path = root / paths.EXPERTS
    rows = tables.read(path, columns=["trajectory_id"]) if path.exists() else []
    return any(row["trajectory_id"] == trajectory for row in rows)


def _line(console: Console, key: str, value: str) -> None:
    console.print(Text(f"{key}  {value}"), soft_wrap=True)


def _trajectories(lineage: ModelLineage) -> Table:
    table = _table("trajectories", ("kind", "source", "author", "license"), ("offered", "trained", "times"))
    for source in lineage.trajectories:
        names = (source.kind, source.source, source.author, source.license)
        table.add_row(*map(Text, names), *map(str, (source.offered, source.trained, source.times)))
    return table


def _prompts(lineage: ModelLineage) -> Table:
    table = _table("prompts", ("source", "license"), ("prompts",))
    for row in lineage.prompts:
        table.add_row(Text(row["source"]), Text(row["license"]), str(row["prompts"]))
    return table


def _run_lines(runs: Sequence[TrainedRun]) -> list[str]:
    """Aligned lines, which a narrow terminal does not break and `grep` can read."""
    rows = [("run", "arm", "recipe", "commit", "times", "registered")]
    for run in runs:
        lineage = run.lineage
        versions = ", ".join(run.versions) or words.NONE
        rows.append((run.run, lineage.arm, lineage.recipe, lineage.commit, str(run.times), versions))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = empty_table(title)
    for name in names:
        table.add_column(name, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table
