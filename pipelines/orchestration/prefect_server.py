"""A Prefect server on loopback for schedules, since the ephemeral server of `hpt run` has no scheduler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.server_settings import prefect_variables

START_LIMIT, STOP_LIMIT = 120, 10
"""Seconds that the server may take to start, and to stop."""
REMEDY = "give another --port, or set PREFECT_API_URL to a Prefect server that runs"


@contextmanager
def prefect_server(root: Path, port: int = 4200) -> Iterator[str]:
    """URL of the API: PREFECT_API_URL if the user has set it, else of a server that runs during the block.

    Raises InputError if the port is taken, or the server does not start.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    # Whatever listens on the port would be mistaken for the new server.
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise InputError(f"port {port} is in use: {REMEDY}")
    url = f"http://127.0.0.1:{port}/api"
    log = root / paths.LOGS / "prefect-server.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            env={**os.environ, **prefect_variables("127.0.0.1", port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(server, f"{url}/health", port, log)
        os.environ["PREFECT_API_URL"] = url
        yield url
    finally:
        server.terminate()
        try:
            server.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            # The server waits for the connections of this process, which close only when this process ends.
            server.kill()
            server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], health: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise InputError(f"the Prefect server did not start on port {port}, see {log}: {REMEDY}")
