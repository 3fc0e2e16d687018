"""A real MLflow server on a free port, for the time of a block."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import free_port, server


@contextmanager
def mlflow_server(folder: Path, *options: str, port: int = 0, **variables: str) -> Iterator[str]:
    """Address of a server with its database in `folder`, these options and environment variables.

    port: 0 for any that is free.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1", *options]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables}
    url = f"http://127.0.0.1:{port}"
    with server(command, folder / "log", lambda: urllib.request.urlopen(f"{url}/health", timeout=2), env):
        yield url
