"""What is down of MLflow is said in one line: the server, its database, or its store of artifacts."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from mlflow_server import mlflow_server

from pipelines.cli import main
from pipelines.tracking.mlflow_errors import TrackingError

DOWN = "http://127.0.0.1:9"
S3 = {
    "AWS_ENDPOINT_URL": DOWN,
    "MLFLOW_S3_ENDPOINT_URL": DOWN,
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
}


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, services: Path) -> Iterator[Callable[..., str]]:
    """Starts an MLflow server with these options, whose S3 store is down; returns its address."""
    with ExitStack() as servers:

        @cache
        def start(*options: str) -> str:
            return servers.enter_context(mlflow_server(tmp_path_factory.mktemp("server"), *options, **S3))

        yield start


@pytest.fixture(autouse=True)
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")


def reason(root: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> str:
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError) as failure:
        publish(root)
    text = str(failure.value)
    assert "\n" not in text and "planted-secret" not in text
    return text


def test_the_artifact_store_behind_the_server_is_down(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., str]
) -> None:
    text = reason(workspace, monkeypatch, serve("--artifacts-destination", "s3://bucket"))
    assert "answers, but its artifact store behind the server is down" in text
    assert "AWS_" in text


@pytest.mark.slow
def test_the_artifact_store_that_publishers_write_to_is_down_or_has_no_credentials(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., str]
) -> None:
    url = serve("--no-serve-artifacts", "--default-artifact-root", "s3://bucket")
    for name, value in S3.items():
        monkeypatch.setenv(name, value)
    text = reason(workspace, monkeypatch, url)
    assert "answers, but its artifact store is down" in text and DOWN in text
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    # MLflow keeps the connection of this process, which had credentials.
    command = [sys.executable, "-m", "pipelines.cli", "publish"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=120)
    [text] = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "its artifact store is down: Unable to locate credentials" in text


def test_a_server_that_hangs_and_one_that_fails(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = reason(workspace, monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached: no answer in time; start it, or correct MLFLOW_TRACKING_URI" in text

    class Failing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(200 if self.path == "/health" else 503)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as failing:
        threading.Thread(target=failing.serve_forever, daemon=True).start()
        text = reason(workspace, monkeypatch, f"http://127.0.0.1:{failing.server_port}")
        failing.shutdown()
    assert "503" in text


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"{DOWN}", "MLflow at http://127.0.0.1:9 cannot be reached: connection refused; start it"),
        ("postgresql://hpt:planted-secret@127.0.0.1:9/mlflow", "cannot be reached: connection refused"),
        ("mysql://hpt:planted-secret@127.0.0.1:9/mlflow", "install it with: pip install mysqlclient"),
        ("sqlite:////nowhere/at/all/mlflow.db", "cannot be reached"),
    ],
)
def test_every_command_says_so_at_once(
    uri: str,
    expected: str,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.monotonic()
    for command in (["publish"], ["lineage", "1"], ["lineage", "champion"], ["ui"], ["rollback"]):
        assert main.main(command) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("hpt: MLflow at ") and expected in error, command
        assert "\n" not in error and "planted-secret" not in error
    assert time.monotonic() - start < 60
