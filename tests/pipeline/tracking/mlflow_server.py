"""A real MLflow server on a free port, for the time of a block."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import free_port


@contextmanager
def mlflow_server(folder: Path, *options: str, port: int = 0, **variables: str) -> Iterator[str]:
    """Address of a server with its database in `folder`, these options and environment variables.

    port: 0 for any that is free.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1", *options]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_healthy(url := f"http://127.0.0.1:{port}", folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_healthy(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())
