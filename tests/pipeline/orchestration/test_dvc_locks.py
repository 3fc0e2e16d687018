"""Locks of DVC: those of dead processes are struck out, those of living ones are waited for and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpt_core.errors import InputError
from pipelines.orchestration import dvc_locks
from pipelines.orchestration.dag import load_stages


def write(root: Path, pid: int) -> Path:
    path = root / dvc_locks.RWLOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"pid": pid, "cmd": "/usr/bin/dvc repro --single-item curate"}
    path.write_text(json.dumps({"read": {"/a": [entry]}, "write": {"/b": entry}}))
    return path


def test_a_number_that_another_process_has_by_now_locks_nothing(workspace: Path) -> None:
    """DVC itself only looks whether the number is in use, and then says to remove the file by hand."""
    path = write(workspace, os.getpid())
    dvc_locks.free(workspace, waiting=None)
    assert json.loads(path.read_text()) == {"read": {}, "write": {}}


def test_half_a_file_is_removed(workspace: Path) -> None:
    path = write(workspace, os.getpid())
    path.write_text(path.read_text()[:40])
    dvc_locks.free(workspace, waiting=None)
    assert not path.exists()
    assert all(not stage.changed for stage in load_stages(workspace))


@pytest.fixture
def living(workspace: Path) -> subprocess.Popen[bytes]:
    """A process that looks like DVC in the checkout and holds a path for two seconds."""
    (workspace / "dvc").write_text("import time; time.sleep(3)")
    return subprocess.Popen([sys.executable, "dvc", "repro", "--single-item", "curate"], cwd=workspace)


def test_a_living_process_is_named_and_waited_for(workspace: Path, living: subprocess.Popen[bytes]) -> None:
    write(workspace, living.pid)
    with pytest.raises(
        InputError, match=rf"process {living.pid}: .* repro --single-item curate.* wait for it"
    ):
        dvc_locks.free(workspace, waiting=None)
    # Who only looks is not refused meanwhile.
    assert load_stages(workspace)
    told: list[str] = []
    started = time.monotonic()
    dvc_locks.free(workspace, told.append)
    assert told and str(living.pid) in told[0]
    living.wait()
    assert time.monotonic() - started < 10
