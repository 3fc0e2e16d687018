"""A server of a test ends with the process of the test, also with one that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import MARK, marked
from servers import server
from toy_project import REPO
from waiting import wait_for

STARTED = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
{}
print("started", flush=True)
time.sleep(600)
"""
S3 = """
from s3_server import s3_server
block = s3_server(Path(sys.argv[1]))
block.__enter__()
"""
STACK = """
from running_stack import new_stack
new = new_stack(Path(sys.argv[1]) / "toy")
new.hpt("stack", "up")
"""


@pytest.mark.parametrize("start", [S3, pytest.param(STACK, marks=pytest.mark.slow)], ids=["s3", "stack"])
def test_what_a_killed_process_has_started_ends(start: str, tmp_path: Path) -> None:
    env = {**os.environ, MARK: str(tmp_path), "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-c", STARTED.format(start), str(tmp_path)]
    with subprocess.Popen(command, cwd=REPO, env=env, stdout=subprocess.PIPE, text=True) as test:
        try:
            assert test.stdout is not None and test.stdout.readline() == "started\n"
            assert marked(str(tmp_path)).keys() - {test.pid}, "no server"
        finally:
            test.kill()
    wait_for(lambda: not marked(str(tmp_path)), 120, lambda: marked(str(tmp_path)))


def test_a_server_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-c", "print('no such database'); raise SystemExit(1)"]
    with pytest.raises(AssertionError, match="no such database"), server(command, tmp_path / "log", bool):
        pass
    assert time.monotonic() - begun < 60
