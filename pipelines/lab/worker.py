"""A worker of a study: it makes the cells that are not complete and that no other worker is making.

Any number of workers may share a study, on one machine or several with a common folder, and any may be killed
at any point: a cell that was begun is resumed from its checkpoint and its shards.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from hpt_core.errors import TrainingError
from hpt_core.fingerprint import write_sealed
from pipelines import (
    base,
    curate,
    evaluate,
    experts,
    paths,
    rollouts,
    select,
    teacher_responses,
    train,
)
from pipelines.lab.cell_process import CellProcess
from pipelines.lab.cell_result import CellResult, cell_result
from pipelines.lab.cells import RESULT, Cell, Study, locked, write_params
from pipelines.lab.choice import chosen_rates
from pipelines.lab.likelihood import held_out_nll
from pipelines.lab.scores import FAILED
from pipelines.params import Params, load_params
from pipelines.report.results import BASE

log = logging.getLogger(__name__)
POLL = 2.0
"""Seconds between two looks at cells that other workers are making."""


def work(study: Study, completed: Callable[[Cell], None]) -> None:
    """Make cells until all of the study are complete, and call `completed` after each made here.

    Raises what a stage raises, except that a training whose step must not be taken is a result. The cell is
    then left as it is for the next worker.
    """
    with CellProcess(make) as process:
        while missing := pending(study):
            made = next((cell for cell in missing if process(study, cell)), None)
            if made is None:
                time.sleep(POLL)
            else:
                completed(made)


def pending(study: Study) -> list[Cell]:
    """Cells that can be made now and are not complete: the trials, and the methods whose trials are."""
    trials = study.trials()
    results = study.results(trials)
    missing = [cell for cell in trials if cell not in results]
    tuned = study.design.methods.keys() - {cell.method for cell in missing}
    cells = [cell for cell in study.cells(chosen_rates(results)) if cell.method in tuned]
    return [*missing, *(cell for cell in cells if study.result(cell) is None)]


def make(study: Study, cell: Cell) -> bool:
    """Make a cell; False where another worker has it or has just completed it. Changes the current folder."""
    folder = study.at(cell)
    with locked(folder, wait=False) as mine:
        if not mine or study.result(cell) is not None:
            return False
        log.info("%s", cell.name)
        setting = prepared(study, cell)
        write_params(folder, cell.tree)
        inputs = (
            paths.PROMPTS_FOLDER,
            paths.demonstrations("").parent,
            paths.rollouts(BASE),
            paths.BASE_MODEL,
        )
        for path in inputs:
            _link(folder / path, setting / path)
        with contextlib.chdir(folder):
            params = load_params()
            torch.set_num_threads(params.threads)
            try:
                policy = study.design.arm if cell.trained else BASE
                result = dict(_run(params, policy))
                if study.design.likelihood is not None:
                    result["nll"] = held_out_nll(cell, policy, setting, study.design)
            except TrainingError as error:
                log.warning("%s: %s", cell.name, error)
                result = {FAILED: str(error)}
            write_sealed(folder / RESULT, result)
            # The rollouts of training are most of a cell's bytes, and its result has what the tables need.
            shutil.rmtree(paths.rollouts(study.design.arm), ignore_errors=True)
    return True


def _run(params: Params, policy: str) -> CellResult:
    """Train and evaluate in the current folder, each from where a killed worker left it."""
    # Its metrics are the last file that the stage writes.
    if policy != BASE and not paths.training_metrics(policy).exists():
        train.run(params, policy)
    if not paths.evaluation_metrics(policy).exists():
        evaluate.run(params, policy)
    return cell_result(Path(), policy)


def prepared(study: Study, cell: Cell) -> Path:
    """The folder of the cell's setting, with every input of its cells."""
    sources, folder, arm = study.sources_at(cell), study.setting_at(cell), study.design.arm
    _run_stages(sources, cell, {name: study.root / name for name in ("raw", "conf")}, SOURCES)
    shared = (paths.PROMPTS_FOLDER, paths.BASE_MODEL, paths.rollouts(BASE), paths.EXPERTS_FOLDER)
    links = {str(path): sources / path for path in shared}
    _run_stages(folder, cell, links, {"select": lambda params: select.run(params, arm)})
    return folder


def _run_stages(
    folder: Path, cell: Cell, links: Mapping[str, Path], stages: Mapping[str, Callable[[Params], object]]
) -> None:
    """Run the stages that are not complete in `folder`, one worker after the other."""
    with locked(folder, wait=True):
        write_params(folder, cell.setting_tree)
        for name, target in links.items():
            _link(folder / name, target)
        with contextlib.chdir(folder):
            params = load_params()
            torch.set_num_threads(params.threads)
            for name, stage in stages.items():
                done = Path("complete") / name
                if not done.exists():
                    log.info("setting %s: %s", cell.setting, name)
                    stage(params)
                    done.parent.mkdir(exist_ok=True)
                    done.touch()


SOURCES: Mapping[str, Callable[[Params], object]] = {
    "curate": curate.run,
    "base": lambda params: base.run(params, "base", paths.BASE_MODEL),
    "teacher": lambda params: base.run(params, "teacher", paths.TEACHER_MODEL),
    "rollouts": rollouts.run,
    "teacher_responses": teacher_responses.run,
    "experts": experts.run,
}
"""The stages before the selection of an arm's demonstrations, in order."""


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
