"""Runs beside each other, on a clock that jumps, and before a remote that is full: each ends as it should."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkouts import LIMIT, Checkout
from small_disk import Mount, fill

pytestmark = pytest.mark.slow

RUN = ("run", "--without-prefect")


def test_two_runs_that_start_at_once(checkout: Checkout, undisturbed: str) -> None:
    command = [sys.executable, "-m", "pipelines.cli", *RUN]
    second = checkout.root.parent / "second.log"
    with second.open("w") as output:
        other = subprocess.Popen(command, cwd=checkout.root, env=checkout.env, stdout=output, stderr=output)
        status, first = checkout.hpt(*RUN)
        assert (status, other.wait(LIMIT)) == (0, 0), first + second.read_text()
    texts = [first, second.read_text()]
    assert sum("waiting for the run of this checkout" in text for text in texts) == 1
    assert sum("every stage is up to date" in text for text in texts) == 1
    assert checkout.results() == undisturbed and checkout.mlflow_runs() == {"FINISHED": 4}


def test_a_full_remote_is_said_in_one_line_and_the_push_is_repeated(checkout: Checkout, mount: Mount) -> None:
    mount(checkout.root / ".remote", "size=64k")
    ballast = fill(checkout.root / ".remote")
    status, output = checkout.hpt(*RUN)
    [line] = [line for line in output.splitlines() if "pushed" in line]
    assert status == 1 and "no space is left; make room" in line and "hpt push" in line
    assert "Traceback" not in output
    ballast.unlink()
    mount(checkout.root / ".remote", "size=64m")
    status, output = checkout.hpt("push")
    assert status == 0 and int(output.split()[0]) > 0


CLOCK = """
import os, time
real = time.time
def shifted():
    with open(os.environ["TOY_CLOCK"]) as file:
        return real() + float(file.read())
if "TOY_CLOCK" in os.environ:
    time.time = shifted
"""
"""The system's own clock would jump for every process of the machine."""
DAY = 86400


def test_a_clock_that_jumps(checkout: Checkout, undisturbed: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    clock = tmp_path / "clock"
    clock.write_text("0")
    path = os.pathsep.join([str(tmp_path / "site"), checkout.env["PYTHONPATH"]])
    checkout.env |= {"PYTHONPATH": path, "TOY_CLOCK": str(clock)}
    for seconds in (-DAY, 400 * DAY):
        checkout.make_stale()
        run = checkout.start_until("train@human", *RUN)
        clock.write_text(str(seconds))
        checkout.release("train@human")
        assert run.wait(LIMIT) == 0, checkout.output.read_text()
        assert abs(checkout.last_end_in_mlflow() - time.time() - seconds) < LIMIT, "the clock did not jump"
        assert checkout.results() == undisturbed and set(checkout.mlflow_runs()) == {"FINISHED"}
    status, output = checkout.hpt(*RUN)
    assert status == 0 and "every stage is up to date" in output
    assert set(checkout.mlflow_runs()) == {"FINISHED"}
