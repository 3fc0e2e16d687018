"""What `hpt lineage` prints: of a registered version what it was made from, of a trajectory what it made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.errors import InputError
from pipelines.params import load_params
from pipelines.params.sections import TrackingConfig
from pipelines.tracking.lineage_index import Index, ModelLineage, Training

NONE = "\u2013"


def print_version(console: Console, root: Path, number: int) -> None:
    """Run, commit, parameters, DVC hashes, sources, licenses and counts of a registered version.

    Raises InputError where there is no such version.
    """
    tracking, index = _index(root)
    versions = index.versions(tracking.registered_model)
    if number not in versions:
        known = (
            f"it has {', '.join(f'v{known}' for known in versions)}" if versions else "nothing is registered"
        )
        raise InputError(f"{tracking.registered_model}: no version {number}; {known}")
    made = index.made_from(versions[number])
    if made is None:
        raise InputError(
            f"{tracking.registered_model} v{number}: its run {versions[number]} says nothing of its lineage; "
            "it was registered by hand, or published by an older release: see the run in MLflow"
        )
    _line(console, f"{tracking.registered_model} v{number}", f"arm {made.arm}, recipe {made.recipe}")
    _line(console, "run", versions[number])
    _line(console, "commit", made.commit)
    _line(console, "content", made.content)
    console.print(_trajectories(made), _prompts(made))
    for title, values in (("DVC hashes", made.dvc), ("parameters", made.params)):
        console.print(Text(title, style="bold"))
        for key, value in sorted(values.items()):
            _line(console, f"  {key}", value)


def print_trajectory(console: Console, root: Path, trajectory: str) -> None:
    """Every published run that trained on a trajectory, with the versions registered from it."""
    _, index = _index(root)
    runs, found = len(index.runs()), index.of_trajectory(trajectory)
    versions = [version for training in found for version in training.versions]
    console.print(
        Text(
            f"{trajectory}: {len(found)} of {runs} published runs trained on it; "
            f"registered models: {', '.join(versions) or 'none'}"
        )
    )
    for line in _trainings(found) if found else []:
        console.print(Text(line.rstrip()), soft_wrap=True)


def _index(root: Path) -> tuple[TrackingConfig, Index]:
    """The index, up to date: others publish to a server that was named, nobody else to the default."""
    tracking = load_params(root / "params.yaml").tracking
    index = Index(root, tracking.experiment)
    if not index.present or os.environ.get("MLFLOW_TRACKING_URI"):
        from pipelines.tracking.mlflow_store import Store

        Store(root, tracking.experiment).synchronise(index)
    return tracking, index


def _line(console: Console, key: str, value: str) -> None:
    console.print(Text(f"{key}  {value}"), soft_wrap=True)


def _trajectories(made: ModelLineage) -> Table:
    table = _table("trajectories", ("kind", "source", "author", "license"), ("offered", "trained", "times"))
    for share in made.trajectories:
        names = (share.kind, share.source, share.author, share.license)
        table.add_row(*map(Text, names), *map(str, (share.offered, share.trained, share.times)))
    return table


def _prompts(made: ModelLineage) -> Table:
    table = _table("prompts", ("source", "license"), ("prompts",))
    for row in made.prompts:
        table.add_row(Text(row["source"]), Text(row["license"]), str(row["prompts"]))
    return table


def _trainings(found: Sequence[Training]) -> list[str]:
    """Aligned lines, which a narrow terminal does not break and `grep` can read."""
    rows = [("run", "arm", "recipe", "commit", "times", "registered")]
    for training in found:
        registered = ", ".join(training.versions) or NONE
        rows.append(
            (training.run, training.arm, training.recipe, training.commit, str(training.times), registered)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table
