"""Nights in which processes are killed and servers stand still: the work is done, and every record is true.

HPT_KILLS=10 pytest -m slow tests/stack/test_disturbed_nights.py     ten kills of each, once by default
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from nights import NIGHT, PARTS, SERVERS, Nights, deployed
from running_stack import Stack
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]

KILLS = int(os.environ.get("HPT_KILLS", "1"))
SEED = os.environ.get("HPT_SEED", "nights")


@pytest.fixture(scope="module")
def nights(stack: Stack) -> Iterator[Nights]:
    return deployed(stack)


@pytest.mark.parametrize("victim", [*PARTS, *SERVERS])
def test_killed_at_random_moments(nights: Nights, victim: str) -> None:
    """Each moment of a night is hit with the same chance."""
    rng = random.Random(f"{SEED}: {victim}")
    killed = 0
    for _ in range(KILLS):
        run = nights.begin()
        began, moment = time.monotonic(), rng.uniform(0, nights.duration)
        time.sleep(moment)
        # A stage does not run all the time; the first one from that moment on is killed.
        over = False
        while not (members := nights.processes(victim)) and not over:
            over = time.monotonic() - began > NIGHT or nights.stack.run_state(run) != "Running"
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed += 1
        print(f"{victim}: {len(members)} killed {time.monotonic() - began:.1f} s after the start", flush=True)
        if victim in SERVERS:
            wait_for(lambda gone=members[0].pid: nights.stack.state.leaders[victim].pid != gone, 60)
            wait_for(nights.healthy, NIGHT, lambda: nights.stack.state.notes)
        print(f"{victim}: the night ended as {nights.end(run)}", flush=True)
        nights.check_the_next_night()
    assert killed >= KILLS / 2, "most nights were over before they were disturbed"


def test_cancelled_on_prefects_page(nights: Nights) -> None:
    """The stages end, and the runs in MLflow say that they were killed, and why."""
    with nights.held("train@human") as (run, _):
        # The other arm trains beside it, and is in MLflow from its first step on.
        wait_for(lambda: nights.stack.rows("MLFLOW", "SELECT 1 FROM runs WHERE status = 'RUNNING'"), NIGHT)
        nights.stack.prefect.cancel(run)
        assert nights.end(run) == "Cancelled"
    killed = "SELECT name, status, value FROM runs JOIN tags USING (run_uuid) WHERE key = 'hpt.ended'"
    reasons = [row for row in nights.stack.rows("MLFLOW", killed) if "cancelled in Prefect" in row[2]]
    assert reasons and {status for _, status, _ in reasons} == {"KILLED"}
    nights.check_the_next_night()


@pytest.mark.parametrize("server", ["postgres", "s3", "prefect", "mlflow"])
def test_a_server_stands_still_for_a_minute(nights: Nights, server: str) -> None:
    """In the first half of it a stage is at work, in the second half the night comes to its end."""
    with nights.held("train@human") as (run, hold), nights.stopped(server):
        time.sleep(30)
        hold.unlink()
        time.sleep(30)
    assert nights.end(run) == "Completed"
    nights.check_the_next_night()


def test_prefect_away_for_six_minutes_ends_no_training(nights: Nights) -> None:
    """The server takes the run for dead, since it has no heartbeat and no slot (prefect#19068)."""
    with nights.held("train@human") as (run, _):
        with nights.stopped("prefect"):
            time.sleep(360)
        time.sleep(30)
        flow = nights.processes("flow")
        assert flow, "the run has ended before its training"
    wait_for(lambda: not any(process.is_running() for process in flow), NIGHT)
    wait_for(lambda: nights.stack.run_state(run) == "Completed", 60, lambda: nights.stack.run_state(run))
    nights.check_the_next_night()
