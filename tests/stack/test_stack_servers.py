"""`hpt stack`: servers are healthy, ask for passwords, come back when they are killed, and leave nothing."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import psycopg2
import pytest
from ruamel.yaml import YAML
from running_stack import Stack, new_stack, remove
from toy_project import REPO, clean_environment
from waiting import wait_for

from pipelines import environment
from pipelines.stack import postgres

pytestmark = pytest.mark.slow

SERVERS = ("postgres", "s3", "prefect", "mlflow", "worker")


def leaders(stack: Stack) -> dict[str, int]:
    state = json.loads((stack.root / ".stack" / "state.json").read_text())
    return {name: leader["pid"] for name, leader in state["leaders"].items()}


def healthy(stack: Stack) -> bool:
    return stack.hpt("stack", "status", check=False).returncode == 0


def test_status_has_a_row_for_each_server(stack: Stack) -> None:
    status = stack.hpt("stack", "status").stdout
    assert status.count("healthy") == len(SERVERS)
    for pid in leaders(stack).values():
        assert str(pid) in status


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = leaders(stack)
    stack.hpt("stack", "up")
    assert leaders(stack) == before


def status_of(url: str, user: str | None = None) -> int:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_servers_refuse_whoever_has_no_password(stack: Stack) -> None:
    connection, definition = stack.connection, stack.definition
    mlflow = f"{connection['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    user, password = connection["MLFLOW_TRACKING_USERNAME"], connection["MLFLOW_TRACKING_PASSWORD"]
    prefect = f"{connection['PREFECT_API_URL']}/admin/version"
    bucket = f"{connection['AWS_ENDPOINT_URL']}/{definition['HPT_DVC_BUCKET']}"
    assert status_of(mlflow) == 401 and status_of(mlflow, f"{user}:wrong") == 401
    assert status_of(mlflow, f"{user}:{password}") == 200
    assert status_of(prefect) == 401 and status_of(prefect, connection["PREFECT_API_AUTH_STRING"]) == 200
    assert status_of(bucket) == 403
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(
            host="127.0.0.1", port=definition["HPT_POSTGRES_PORT"], user="hpt", password="x", dbname="mlflow"
        )


def test_objects_cannot_be_read_past_the_keys_of_s3(stack: Stack) -> None:
    filer = int(stack.definition["HPT_SEAWEEDFS_PORTS"]) + 4
    assert status_of(f"http://127.0.0.1:{filer}/buckets/") == 401


def test_no_secret_is_in_a_command_line_or_a_log_and_files_are_private(stack: Stack) -> None:
    folder = stack.root / ".stack"
    secrets = environment.parse((folder / "secrets.env").read_text())
    lines = [" ".join(process.cmdline()) for process in stack.processes()]
    logs = [path.read_text(errors="replace") for path in (folder / "logs").iterdir()]
    assert len(lines) > len(SERVERS) and len(logs) > len(SERVERS)
    for name, secret in secrets.items():
        assert not any(secret in text for text in lines), f"{name} is in the process list"
        assert not any(secret in text for text in logs), f"{name} is in a log"
    for path in folder.rglob("*"):
        data = {
            folder / "logs",
            folder / "s3",
            (folder / "postgres").resolve(),
            folder / "prefect",
            folder / "worker",
        }
        if path.is_file() and not data.intersection(path.parents):
            text = path.read_text(errors="replace")
            if any(secret in text for secret in secrets.values()):
                assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_killed_comes_back(stack: Stack, name: str) -> None:
    before = leaders(stack)
    psutil.Process(before[name]).send_signal(signal.SIGKILL)
    wait_for(lambda: leaders(stack)[name] != before[name])
    wait_for(lambda: healthy(stack))
    others = {other: pid for other, pid in leaders(stack).items() if other != name}
    assert others == {other: pid for other, pid in before.items() if other != name}


def test_a_server_that_hangs_is_started_again(tmp_path: Path) -> None:
    """Its process runs and answers nothing, as Prefect's does that waits for its own lock (prefect#23055)."""
    stack = new_stack(tmp_path / "toy")
    stack.variables["HPT_SILENCE_LIMIT"] = "30"
    try:
        stack.hpt("stack", "up")
        before = leaders(stack)
        for name in ("prefect", "mlflow"):
            os.killpg(before[name], signal.SIGSTOP)
        wait_for(lambda: all(leaders(stack)[name] != before[name] for name in ("prefect", "mlflow")), 240)
        wait_for(lambda: healthy(stack))
        assert leaders(stack)["postgres"] == before["postgres"]
        log = (stack.root / ".stack/logs/supervisor.log").read_text()
        assert "Prefect: has not answered for 30 s" in log and "MLflow: has not answered for 30 s" in log
    finally:
        remove(stack)


def test_a_killed_supervisor_is_replaced_and_its_servers_kept(stack: Stack) -> None:
    before = leaders(stack)
    supervisor = next(p for p in stack.processes() if "pipelines.stack.supervisor" in p.cmdline())
    supervisor.kill()
    supervisor.wait(10)
    assert environment.stack_runs(stack.root)
    stack.hpt("stack", "up")
    assert leaders(stack) == before
    psutil.Process(before["s3"]).kill()
    wait_for(lambda: leaders(stack)["s3"] != before["s3"])
    wait_for(lambda: healthy(stack))


def test_all_killed_at_once_then_up_goes_on(stack: Stack) -> None:
    for process in stack.processes():
        process.kill()
    wait_for(lambda: not stack.processes())
    assert stack.hpt("stack", "status", check=False).returncode == 1
    assert environment.stack_stopped(stack.root)
    stack.hpt("stack", "up")
    assert healthy(stack)


def test_health_checks_of_the_containers_tell_a_server_that_runs_from_one_that_does_not(stack: Stack) -> None:
    """Their commands, which no container has run here, run on this machine."""
    text = (REPO / "infra" / "compose.yaml").read_text()
    for name, value in stack.definition.items():
        text = text.replace(f"${{{name}}}", value)
    services = YAML(typ="safe").load(re.sub(r"http://(prefect|s3):", "http://127.0.0.1:", text))["services"]
    pg_isready = [postgres.binary("pg_isready"), "-h", "127.0.0.1"]
    programs = {"python": [sys.executable], "pg_isready": pg_isready, "wget": ["wget"]}
    checks = {
        name: service["healthcheck"]["test"] for name, service in services.items() if name != "provision"
    }
    assert set(checks) == set(SERVERS)
    for name, (kind, program, *arguments) in checks.items():
        assert kind == "CMD"
        command = [*programs[program], *arguments]
        stack.command(*command)
        other = [re.sub(r"\b(\d{5})\b", "9", word) for word in command]
        assert other != command and stack.command(*other, check=False).returncode != 0, name


@pytest.mark.usefixtures("own_environment")
def test_the_running_stack_is_found_and_a_choice_of_the_user_wins(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*stack.connection, "PREFECT_HOME", "PREFECT_PROFILE", "AWS_PROFILE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of.the.user:5000")
    began = time.perf_counter()
    environment.prepare(stack.root)
    assert time.perf_counter() - began < 0.02
    assert os.environ["PREFECT_API_URL"] == stack.connection["PREFECT_API_URL"]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == stack.connection["AWS_SECRET_ACCESS_KEY"]
    # The password of the stack's MLflow is not for another server.
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_a_taken_port_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    other = new_stack(tmp_path / "toy")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(other.definition["HPT_MLFLOW_PORT"])))
        taken.listen()
        done = other.hpt("stack", "up", check=False)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and other.definition["HPT_MLFLOW_PORT"] in done.stderr
    assert "infra/stack.env" in done.stderr
    assert not other.processes()


def test_up_that_was_killed_may_be_repeated_beside_another_stack(stack: Stack, tmp_path: Path) -> None:
    before, other = leaders(stack), new_stack(tmp_path / "toy")
    try:
        command = [sys.executable, "-m", "pipelines.cli", "stack", "up"]
        killed = subprocess.Popen(command, cwd=other.root, env=clean_environment() | other.variables)
        wait_for(lambda: "postgres" in other.state.leaders)
        killed.kill()
        killed.wait()
        other.hpt("stack", "up")
        assert healthy(other) and healthy(stack)
        assert not set(leaders(other).values()) & set(before.values())
    finally:
        remove(other)
    assert not other.processes() and not other.ports_in_use()
    assert leaders(stack) == before and healthy(stack)


def test_down_leaves_nothing_and_may_be_repeated(stack: Stack) -> None:
    assert stack.ports_in_use()
    stack.hpt("stack", "down")
    assert not stack.processes() and not stack.ports_in_use()
    assert not environment.stack_runs(stack.root) and not environment.stack_stopped(stack.root)
    assert "nothing was running" in stack.hpt("stack", "down").stdout
    assert stack.hpt("stack", "status", check=False).returncode == 1
