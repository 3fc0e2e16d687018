"""dvc.lock after a run is as a bare `dvc repro` leaves it, in whatever order stages ended or were killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml
from toy_project import IDENTITY

from pipelines.orchestration.dag import load_stages, mend_lock, order_lock


def test_order_in_the_lock_file_is_that_of_a_bare_repro(workspace: Path) -> None:
    path = workspace / "dvc.lock"
    reproduced = path.read_text()
    lock = loads_yaml(reproduced)
    lock["stages"] = dict(reversed(lock["stages"].items()))
    path.write_text(dumps_yaml(lock))
    assert path.read_text() != reproduced
    order_lock(workspace, load_stages(workspace))
    assert path.read_text() == reproduced


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.99])
def test_a_lock_file_that_was_cut_off_is_brought_back(workspace: Path, share: float, committed: bool) -> None:
    path = workspace / "dvc.lock"
    whole = path.read_text()
    assert not mend_lock(workspace), "a whole file is left alone"
    if committed:
        subprocess.run(["git", "add", "-f", "dvc.lock"], cwd=workspace, check=True)
        subprocess.run(["git", *IDENTITY, "commit", "-qm", "lock"], cwd=workspace, check=True)
    path.write_text(whole[: int(share * len(whole))].rstrip())
    assert mend_lock(workspace)
    assert path.read_text() == whole if committed else not path.exists()
    assert all(stage.changed != committed for stage in load_stages(workspace))
