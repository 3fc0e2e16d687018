"""SIGKILL of a stage, of DVC and of the run: nothing is left, and the next run gives what an undisturbed one
does."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from checkouts import LIMIT, Checkout
from waiting import wait_for

pytestmark = pytest.mark.slow

VICTIMS = {
    "stage": ("python stages.py",),
    "dvc": ("dvc --wait-for-lock repro",),
    "run": ("pipelines.cli run",),
    "prefect": ("uvicorn",),
}
"""Who is killed -> words of the command line."""


def kill(checkout: Checkout, victim: str) -> None:
    for pid in checkout.processes(*VICTIMS[victim]):
        # The keepers of a process have its command line as arguments.
        with suppress(OSError):
            if "keeper.py" not in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["stage", "dvc"])
def test_killed_in_the_middle(checkout: Checkout, undisturbed: str, victim: str) -> None:
    run = checkout.start_until("train@human", "run", "--without-prefect")
    kill(checkout, victim)
    assert run.wait(LIMIT) == 1
    output = checkout.output.read_text()
    assert output.count("stage train@human failed with exit status") == 1 and "Traceback" not in output
    assert "dvc repro --single-item train@human" in output
    assert checkout.nothing_is_left(0)
    status, output = checkout.hpt("run", "--without-prefect")
    assert status == 0, output
    assert checkout.results() == undisturbed


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_at_ten_random_moments(checkout: Checkout, undisturbed: str, victim: str) -> None:
    """Each moment of a run is hit with the same chance; the run after a kill is the next to be killed."""
    rng = random.Random(f"kills of {victim}")
    kills = 0
    for _ in range(10):
        checkout.make_stale()
        run = checkout.start("run")
        wait_for(lambda run=run: run.poll() is not None or checkout.processes("stages.py"), LIMIT)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 15))
        kills += run.poll() is None
        kill(checkout, victim)
        run.wait(LIMIT)
        assert checkout.nothing_is_left()
    assert kills >= 5, "most runs were over before they were killed"
    checkout.make_stale()
    status, output = checkout.hpt("run")
    assert status == 0, output
    assert checkout.results() == undisturbed
    # A run that is over is known to be over, once the next one has told it.
    status, output = checkout.hpt("run")
    assert status == 0 and "every stage is up to date" in output
    assert {"Running", "Pending", "Cancelling"}.isdisjoint(checkout.flow_runs() | checkout.task_runs())
    assert "RUNNING" not in checkout.mlflow_runs()
    status, output = checkout.hpt("compare")
    assert status == 0 and "base" in output
