"""Runs that are killed, and runs whose Prefect server is lost: the work is done, and the record is true."""

from __future__ import annotations

import os
import re
import signal
import socket

import pytest
from checkouts import LIMIT, Checkout


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Four runs, three of them with a Prefect server of their own.
def test_killed_stage_killed_run_lost_server_then_the_truth(checkout: Checkout, undisturbed: str) -> None:
    # A stage that is killed fails, and the run says how to repeat it.
    run = checkout.start_until("train@human", "run", "--without-prefect")
    for pid in checkout.processes("python stages.py train human"):
        os.kill(pid, signal.SIGKILL)
    assert run.wait(LIMIT) == 1
    output = checkout.output.read_text()
    assert "dvc repro --single-item train@human" in output and "Traceback" not in output
    assert checkout.nothing_is_left(0)

    # All that a killed run has started ends: its Prefect server, and a child that ignores SIGTERM.
    checkout.make_stale()
    run = checkout.start_until("train@program")
    run.kill()
    run.wait()
    assert checkout.nothing_is_left()
    assert checkout.flow_runs() == {"Running": 1}, "nobody could tell Prefect"

    # The next run begins at once. Its server is lost in the middle, and it does not wait for it.
    run = checkout.start_until("train@human")
    # The first thing that it does is to tell Prefect of the run that was killed.
    assert checkout.flow_runs() == {"Crashed": 1, "Running": 1}
    for pid in checkout.processes("uvicorn"):
        os.kill(pid, signal.SIGKILL)
    checkout.release("train@human")
    assert run.wait(LIMIT) == 0
    output = checkout.output.read_text()
    assert re.search("done: .*train@human", output) and "87.5%" in output, "the table of results"
    assert output.count("Prefect's server is away") == 1
    assert "Traceback" not in output and "EventsWorker" not in output
    assert checkout.results() == undisturbed
    assert checkout.nothing_is_left()

    # The run after tells Prefect how that one ended.
    status, output = checkout.hpt("run")
    assert status == 0 and "every stage is up to date" in output
    assert checkout.flow_runs() == {"Crashed": 1, "Completed": 1, "Unchanged": 1}
    assert "Running" not in checkout.task_runs() and "Pending" not in checkout.task_runs()
    # A parent with the arm that was done beside the stage that was killed; then one with both, and the base.
    assert checkout.mlflow_runs() == {"FAILED": 1, "FINISHED": 5}
    assert not list((checkout.root / "logs" / "prefect").iterdir())
    assert checkout.nothing_is_left()


@pytest.mark.slow
def test_prefect_that_never_answers_is_said_at_once(checkout: Checkout, undisturbed: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # It does not listen.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        status, output = checkout.hpt("run", PREFECT_API_URL=url)
        assert status == 2 and not (checkout.root / "logs" / "began").exists(), "nothing was spent"
        [line] = output.splitlines()
        assert url in line and "PREFECT_API_URL" in line and "hpt run --without-prefect" in line
        status, output = checkout.hpt("run", "--without-prefect", PREFECT_API_URL=url)
    assert status == 0 and checkout.results() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ended_run_ends_its_processes_and_its_mlflow_runs(checkout: Checkout, number: int) -> None:
    run = checkout.start_until("train@human", "run", "--without-prefect")
    status, output = checkout.hpt("status")
    assert status == 0 and f"process {run.pid} on " in output and "running      train@human" in output
    # A second run says whose the checkout is.
    second, output = checkout.hpt("run", "--no-wait", "--without-prefect")
    assert second == 2 and f"process {run.pid} on " in output and "dvc" not in output.lower()
    run.send_signal(number)
    assert run.wait(60) == (143 if number == signal.SIGTERM else 130)
    assert checkout.nothing_is_left(0)
    assert "RUNNING" not in checkout.mlflow_runs()
