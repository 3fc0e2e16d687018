"""`hpt lab STUDY`: work on the study, publish each cell, and write the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hpt_core.files import read_steps, write_text
from pipelines import paths
from pipelines.environment import tracking_uri
from pipelines.lab.cells import Cell, Study
from pipelines.lab.choice import chosen_rates
from pipelines.lab.design import read_design
from pipelines.lab.report import write_report
from pipelines.lab.scores import FAILED
from pipelines.lab.worker import work
from pipelines.tracking.lab import CellRecord, publish_cells
from pipelines.tracking.mlflow_errors import TrackingError

log = logging.getLogger(__name__)
PUBLISHED = "published"
"""File in the folder of a cell with the address of the MLflow that has it."""


def run_study(root: Path, name: str) -> dict[str, Any]:
    """Make all cells of a study, beside other workers of it; returns the tables of reports/lab.json.

    A failure of MLflow stops nothing: what it lacks is published by the next call. Raises InputError for a
    study that cannot be made, and what a stage raises.
    """
    study = Study(root, name, read_design(root, name))

    def completed(cell: Cell) -> None:
        _publish(study, [cell])
        write_report(study)

    work(study, completed)
    trials = study.trials()
    _publish(study, [*trials, *study.cells(chosen_rates(study.results(trials)))])
    return write_report(study)


def progress(root: Path, name: str) -> dict[str, Any]:
    """Write the report of the cells that are complete; returns the tables."""
    return write_report(Study(root, name, read_design(root, name)))


def planned(root: Path, name: str) -> list[tuple[str, str, int, int]]:
    """Setting, methods, runs and complete runs, the trials of rates first. Nothing is written."""
    study = Study(root, name, read_design(root, name))
    trials = study.trials()
    cells = study.cells(chosen_rates(study.results(trials)))
    groups = {"trials of rates": trials} if trials else {}
    groups |= {setting: [c for c in cells if c.setting == setting] for setting in study.design.settings}
    return [
        (group, ", ".join(dict.fromkeys(c.method for c in of)), len(of), len(study.results(of)))
        for group, of in groups.items()
    ]


def _publish(study: Study, cells: Iterable[Cell]) -> None:
    address = tracking_uri(study.root)
    lacking = [cell for cell in cells if _published_to(study.at(cell)) != address]
    experiment = {cell.tree["tracking"]["experiment"] for cell in lacking}
    try:
        for each in sorted(experiment):
            of = [cell for cell in lacking if cell.tree["tracking"]["experiment"] == each]
            publish_cells(study.root, each, [_record(study, cell) for cell in of])
            for cell in of:
                write_text(study.at(cell) / PUBLISHED, address)
    except TrackingError as error:
        log.warning("%s; `hpt lab %s` publishes it later", error, study.name)


def _published_to(folder: Path) -> str | None:
    path = folder / PUBLISHED
    return path.read_text("utf-8") if path.exists() else None


def _record(study: Study, cell: Cell) -> CellRecord:
    folder, result = study.at(cell), study.result(cell)
    assert result is not None
    log_file = folder / paths.training_metrics(study.design.arm)
    metrics = {
        f"eval/{benchmark}/accuracy": sum(solved.values()) / (len(solved) * result["k"][benchmark])
        for benchmark, solved in result.get("solved", {}).items()
    }
    metrics |= {f"nll/{source}": nll for source, nll in result.get("nll", {}).items()}
    names = {"setting": cell.setting, "budget": cell.budget, "method": cell.method, "seed": str(cell.seed)}
    names |= {} if cell.trial is None else {"trial": str(cell.trial)}
    names |= {FAILED: str(result[FAILED])[:500]} if FAILED in result else {}
    return CellRecord(
        study=study.name,
        content=cell.content,
        name=cell.name,
        tags={f"lab.{key}": value for key, value in names.items()},
        params={"train": cell.tree["train"] if cell.trained else {}, "seed": cell.seed},
        steps=read_steps(log_file) if cell.trained and log_file.exists() else [],
        metrics=metrics,
    )
