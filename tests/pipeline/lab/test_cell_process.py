"""Cells are made in a process of their own: one for many with `hf`, one for each with vLLM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from hpt_core.errors import EngineError, InputError
from pipelines.lab import cell_process
from pipelines.lab.cell_process import CellProcess
from pipelines.lab.cells import Cell, Study

TREE = {"rollout": {"engine": "hf"}}
CELL = Cell("setting", "steps", "sft", 1, None, TREE, TREE, trained=True, likelihood=None)
ON_VLLM = replace(CELL, tree={"rollout": {"engine": "vllm"}})


def noting(study: Study, cell: Cell) -> bool:
    """A cell whose result is the number of its process. `study` is a folder here."""
    with Path(cast(Any, study), "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return cell.method != "taken"


def failing(study: Study, cell: Cell) -> bool:
    errors = {
        "input": InputError("params.yaml:3: wrong"),
        "disk": OSError(28, "No space left", "file"),
        "bug": KeyError(lambda: None),
    }
    if cell.method == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise errors[cell.method]


@pytest.fixture
def process() -> Iterator[CellProcess]:
    with CellProcess(noting) as process:
        yield process


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_process_makes_the_cells_until_vllm_has_run_in_it(process: CellProcess, tmp_path: Path) -> None:
    study = cast(Study, tmp_path)
    assert process(study, CELL) and process(study, CELL) and process(study, ON_VLLM)
    assert process(study, ON_VLLM)
    first, second, third, fourth = pids(tmp_path)
    assert first == second == third != fourth and os.getpid() not in (first, fourth)
    assert gone(first) and gone(fourth)


def test_a_cell_that_another_worker_has_leaves_the_process(process: CellProcess, tmp_path: Path) -> None:
    study, taken = cast(Study, tmp_path), replace(ON_VLLM, method="taken")
    assert not process(study, taken) and process(study, CELL)
    assert len(set(pids(tmp_path))) == 1


def test_errors_reach_the_worker() -> None:
    folder = cast(Study, Path())
    with CellProcess(failing) as process:
        with pytest.raises(InputError, match=r"params\.yaml:3: wrong"):
            process(folder, replace(CELL, method="input"))
        with pytest.raises(OSError, match="No space left") as full:
            process(folder, replace(CELL, method="disk"))
        assert (full.value.errno, full.value.filename) == (28, "file")
        with pytest.raises(RuntimeError, match=r"bug, setting, steps, seed 1: KeyError"):
            process(folder, replace(CELL, method="bug"))
        with pytest.raises(
            EngineError, match=r"^killed, .*: its process ended with status -9, mostly .*start again"
        ):
            process(folder, replace(CELL, method="killed"))
        with pytest.raises(InputError):
            process(folder, replace(CELL, method="input"))


def makes_cells(child: psutil.Process) -> bool:
    """Whether a child of a worker is the process of its cells, and no helper of Python or of a library."""
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:  # It has ended meanwhile.
        return False


def test_a_worker_that_is_killed_while_the_process_starts_leaves_no_cell(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.pipeline.lab import test_cell_process as t;"
        f"t.CellProcess(t.noting)(Path({str(tmp_path)!r}), t.CELL)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    of_cells: list[psutil.Process] = []
    while not of_cells:
        assert worker.poll() is None
        of_cells = [child for child in psutil.Process(worker.pid).children() if makes_cells(child)]
    worker.kill()
    worker.wait()
    psutil.wait_procs(of_cells, timeout=120)
    assert not of_cells[0].is_running() and not (tmp_path / "pids").exists()


def test_code_that_changed_meanwhile_makes_no_cell(
    process: CellProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_process, "code_of_cells", lambda: "another")
    with pytest.raises(
        InputError, match="the code has changed since this worker began; start `hpt lab` again"
    ):
        process(cast(Study, tmp_path), CELL)
    assert not (tmp_path / "pids").exists()
