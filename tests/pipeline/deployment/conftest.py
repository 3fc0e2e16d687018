"""A Prefect server on PostgreSQL, a toy checkout, a worker, and an HTTP server that receives the alerts."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from postgres_server import postgres_server
from prefect_api import PrefectApi
from servers import free_port, server
from waiting import wait_for

from pipelines.orchestration.process_group import end, kept

REPO = Path(__file__).parents[3]
TIMEOUT = 240
"""Seconds that a command may take."""
GRACE = 30.0
"""Seconds that a worker may take to end its runs."""


@dataclass
class Alerts:
    """What arrived at the webhook."""

    address: str
    texts: list[str] = field(default_factory=list)

    def wait(self, *words: str) -> str:
        def found() -> str | None:
            return next((text for text in self.texts if all(word in text for word in words)), None)

        text: str = wait_for(found, seen=lambda: self.texts)
        return text


@dataclass
class Site:
    """A toy checkout whose deployments are on a Prefect server, and its worker."""

    root: Path
    api: PrefectApi
    alerts: Alerts
    environment: dict[str, str]
    server: subprocess.Popen[str]
    database: Path
    """Folder of the socket of the server's database."""
    worker: subprocess.Popen[str] | None = None

    def hpt(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pipelines.cli", *arguments]
        finished = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The server runs, and answers nothing."""
        os.killpg(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.server.pid, signal.SIGCONT)

    def start_worker(self, folder: Path, *module: str) -> None:
        """Start a worker that stands in `folder` and has no environment but the server's address."""
        folder.mkdir(exist_ok=True)
        plain = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PREFECT_WORKER_QUERY_SECONDS": "1"}
        passed = ("PREFECT_API_URL", "PYTHONPATH", "DVC_SITE_CACHE_DIR")
        environment = plain | {name: self.environment[name] for name in passed}
        with (folder / "worker.log").open("w") as log:
            command = [sys.executable, "-m", *module]
            self.worker = kept(command, log.fileno(), GRACE, environment, folder)

    def stop_worker(self) -> None:
        assert self.worker is not None
        end([self.worker], GRACE)
        self.worker = None

    def change_stages(self, before_main: str) -> None:
        """Make every stage of the toy run `before_main` first."""
        original = (REPO / "tests/pipeline/toy/stages.py").read_text()
        (self.root / "stages.py").write_text(original.replace("\nmain()\n", f"\n{before_main}\nmain()\n"))

    def kill_worker(self) -> None:
        """SIGKILL the worker and the flow runs that it has started, as a machine that dies does."""
        assert self.worker is not None
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()
        self.worker = None


@pytest.fixture(scope="session")
def alerts() -> Iterator[Alerts]:
    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received.texts.append(body["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    received = Alerts(f"http://127.0.0.1:{server.server_port}/secret-of-the-webhook")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def database() -> Iterator[Path]:
    with postgres_server() as folder:
        yield folder


@pytest.fixture(scope="module")
def site(
    reproduced: Path,
    alerts: Alerts,
    database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A toy checkout and a Prefect server with which nothing is deployed yet."""
    folder = tmp_path_factory.mktemp("site")
    root = folder / "toy"
    shutil.copytree(reproduced, root, symlinks=True)
    shutil.copytree(REPO / "infra/job_templates", root / "infra/job_templates")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    # On SQLite, Prefect before 3.8.6 may block itself while an automation is written (prefect#23055).
    url = f"postgresql+asyncpg://hpt@/postgres?host={database}"
    environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    api = PrefectApi(f"http://127.0.0.1:{port}/api")
    with server(command, folder / "server.log", lambda: api.get("health"), environment) as process:
        environment |= {"PREFECT_API_URL": api.url, "HPT_ALERT_WEBHOOK": alerts.address}
        made = Site(root, api, alerts, environment, process, database)
        try:
            yield made
        finally:
            if made.worker is not None:
                made.stop_worker()
