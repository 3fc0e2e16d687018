"""Prefect servers on loopback that end with this process: one for a run, one for schedules."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.orchestration.prefect_api import URL, answers
from pipelines.orchestration.process_group import end, kept
from pipelines.server_settings import prefect_variables

START_LIMIT, STOP_LIMIT = 120, 5
"""Seconds that a server may take to start, and to stop."""
FREE_LIMIT = STOP_LIMIT + 2.0
"""Seconds for which a port may still be taken: the server of a killed `hpt serve` needs them to end."""
PATIENCE = 3.0
"""Seconds after which a person is told what is being waited for."""
WATCH_INTERVAL = 1.0
"""Seconds between two looks at whether a server still runs and answers."""
SILENCE_LIMIT = 180.0
"""Seconds without an answer after which a server that runs is ended, and started again."""
REMEDY = "give another --port, or set PREFECT_API_URL to a Prefect server that runs"

EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What Prefect itself sets for a server of one run: no UI, and no services but those that store events."""


@dataclass
class Server:
    """A server process; `end` ends it, and so does the end of this process, however it ends."""

    port: int
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        with self.log.open("w") as output:
            env = {**os.environ, **self.env}
            self.process = kept([sys.executable, *self.command], output.fileno(), STOP_LIMIT, env)

    def wait_until_healthy(self) -> bool:
        """Whether the server answers; False where it has ended, or has not started within START_LIMIT."""
        begun, told = time.monotonic(), False
        while (waited := time.monotonic() - begun) < START_LIMIT and self.process.poll() is None:
            if answers(self.url):
                return True
            if waited > PATIENCE and not told:
                print("waiting for Prefect's server to start, up to a minute on a busy machine", flush=True)
                told = True
            time.sleep(0.1)
        return False

    def end(self) -> None:
        end([self.process], STOP_LIMIT)


def server_of_a_run(root: Path) -> Server:
    """A server without UI on a free port, with the database of the checkout; it has just begun to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    factory = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--lifespan", "on"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    env = {**prefect_variables("127.0.0.1", port), **EPHEMERAL}
    return Server(port, [*factory, *address], root / paths.LOGS / "prefect-server-of-run.log", env)


@contextmanager
def prefect_server(root: Path, port: int = 4200) -> Iterator[str]:
    """URL of the API: PREFECT_API_URL if the user has set it, else of a server that runs during the block.

    A server that ends before the block does is started again. Raises InputError if the port is taken, or the
    server does not start.
    """
    if url := os.environ.get(URL):
        if not answers(url):
            raise InputError(f"Prefect's server at {url} does not answer; start it, or correct {URL}")
        yield url
        return
    # Whatever listens on the port would be mistaken for the new server.
    if not _free_within(port, FREE_LIMIT):
        raise InputError(f"port {port} is in use: {REMEDY}")
    log = root / paths.LOGS / "prefect-server.log"
    command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    server = Server(port, command, log, prefect_variables("127.0.0.1", port))
    closing = threading.Event()
    watcher = threading.Thread(target=_keep_running, args=(server, closing), daemon=True)
    try:
        if not server.wait_until_healthy():
            raise InputError(f"the Prefect server did not start on port {port}, see {log}: {REMEDY}")
        watcher.start()
        os.environ[URL] = url
        yield url
    finally:
        os.environ.pop(URL, None)
        closing.set()
        if watcher.is_alive():
            watcher.join()
        server.end()


def _free_within(port: int, seconds: float) -> bool:
    """Whether nothing listens on the port of this machine now or within the next `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _keep_running(server: Server, closing: threading.Event) -> None:
    """Start the server again whenever it ends or hangs: no night may depend on somebody who looks."""
    deadline = time.monotonic() + SILENCE_LIMIT
    while not closing.wait(WATCH_INTERVAL):
        if (status := server.process.poll()) is not None:
            print(f"the Prefect server ended with status {status}; it is started again", flush=True)
            server.start()
            deadline = time.monotonic() + START_LIMIT
        elif answers(server.url):
            deadline = time.monotonic() + SILENCE_LIMIT
        elif time.monotonic() > deadline:
            # On SQLite, Prefect before 3.8.6 can block itself while an automation is written (prefect#23055).
            print("the Prefect server runs and does not answer; it is ended", flush=True)
            server.end()
