"""`hpt serve` on a Prefect server of its own: it schedules runs, and never two run at the same time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from prefect_api import PrefectApi
from servers import free_port
from waiting import wait_for

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.orchestration import prefect_server
from pipelines.orchestration.keeper import end_with_parent


@pytest.fixture
def served(
    make_toy: Callable[[Path], Path], tmp_path: Path
) -> Iterator[tuple[PrefectApi, Path, subprocess.Popen[bytes]]]:
    toy = make_toy(tmp_path / "toy")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(tmp_path / "prefect")
    environment["PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"] = "2"
    log = tmp_path / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port)],
            cwd=toy,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
    yield PrefectApi(f"http://127.0.0.1:{port}/api", csrf=True), log, process
    process.send_signal(signal.SIGINT)
    process.wait(60)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, (
            "the Prefect server is still running after `hpt serve` ended"
        )


@pytest.mark.slow
def test_runs_are_scheduled_and_an_overlapping_one_is_cancelled(
    served: tuple[PrefectApi, Path, subprocess.Popen[bytes]],
) -> None:
    api, log, _ = served
    [deployment] = wait_for(lambda: api.post("deployments/filter", {}), seen=log.read_text)
    [schedule] = deployment["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    # Without the server's own scheduler no run would ever be scheduled.
    wait_for(lambda: len(runs(api, "SCHEDULED")) > 2, seen=log.read_text)

    now = {"state": {"type": "SCHEDULED"}}
    path = f"deployments/{deployment['id']}/create_flow_run"
    # A busy server may answer that its database is locked.
    first, second = (wait_for(lambda: api.post(path, now), seen=log.read_text) for _ in range(2))
    ended = wait_for(
        lambda: len(found := runs(api, "COMPLETED", "CANCELLED", "FAILED")) == 2 and found, seen=log.read_text
    )
    states = {run["id"]: run["state"] for run in ended}
    assert {states[first["id"]]["type"], states[second["id"]]["type"]} == {"COMPLETED", "CANCELLED"}
    [cancelled] = [state for state in states.values() if state["type"] == "CANCELLED"]
    assert "concurrency limit" in cancelled["message"]


def runs(api: PrefectApi, *states: str) -> list[dict[str, Any]]:
    selection = {"flow_runs": {"state": {"type": {"any_": list(states)}}}, "limit": 50}
    found: list[dict[str, Any]] = api.post("flow_runs/filter", selection)
    return found


def test_port_that_is_taken(
    make_toy: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(make_toy(tmp_path / "toy"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(prefect_server, "FREE_LIMIT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main.main(["serve", "--port", str(port)]) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert f"port {port} is in use" in error
    assert "--port" in error and "PREFECT_API_URL" in error


def test_the_server_of_a_killed_serve_gets_the_time_to_leave_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Timer(0.5, listener.shutdown, [socket.SHUT_RDWR]).start()
        message = f"not start on port {port}"
        with pytest.raises(InputError, match=message), prefect_server.prefect_server(tmp_path, port):
            pass


def test_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    message = r"not start on port 4321, see .*prefect-server\.log: .*--port.*PREFECT_API_URL"
    with pytest.raises(InputError, match=message), prefect_server.prefect_server(tmp_path, 4321):
        pass


@pytest.mark.slow
def test_a_server_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setattr(prefect_server, "SILENCE_LIMIT", 10.0)
    with prefect_server.prefect_server(tmp_path, free_port()) as url:
        for process in server_processes(url):
            process.suspend()
        assert not prefect_server.answers(url)
        wait_for(lambda: prefect_server.answers(url), seen=(tmp_path / "logs/prefect-server.log").read_text)


def server_processes(url: str) -> list[psutil.Process]:
    """Whoever listens on the port of a server."""
    port = urlsplit(url).port
    found = [
        c.pid for c in psutil.net_connections() if c.laddr and c.laddr.port == port and c.status == "LISTEN"
    ]
    assert found and None not in found
    return [psutil.Process(pid) for pid in found if pid]
