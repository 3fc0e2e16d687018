"""`hpt ui`: MLflow's page on the results of this checkout, opened where the comparison is.

The server runs below a guard (this module as a command), which ends it when `hpt ui` ends, however that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths, server_settings
from pipelines.environment import tracking_uri
from pipelines.params import load_params
from pipelines.tracking.mlflow_errors import TrackingError, answers, tracking_errors

HOST = "127.0.0.1"
LOG = paths.LOGS / "ui.log"
START, POLL, END = 180.0, 0.2, 10.0
"""Seconds in which the server answers, between two looks at it, and in which it ends by itself."""
LAST_LINES = 5


def show_ui(root: Path, port: int, announce: Callable[[str], None]) -> int:
    """Serve MLflow's page until Ctrl-C; returns the exit status.

    announce: called with the address of the comparison once the page answers. With a tracking server that
    runs elsewhere, that is all.

    Raises InputError where the port is taken, TrackingError where MLflow cannot be reached or does not start.
    """
    served = tracking_uri(root).startswith("http")
    if not served:
        _check_port(port)
    with tracking_errors(root):
        from pipelines.tracking.mlflow_store import Store
        from pipelines.tracking.pages.screens import address, comparison_path, save_views

        params = load_params(root / paths.PARAMS)
        store = Store(root, params.tracking.experiment)
        save_views(store, list(params.curate.benchmarks))
        page = address(store, comparison_path(store), port)
    if served:
        announce(page)
        return 0
    return _serve(root, store.uri, port, page, announce)


def _serve(root: Path, uri: str, port: int, page: str, announce: Callable[[str], None]) -> int:
    log = root / LOG
    log.parent.mkdir(exist_ok=True)
    server = [sys.executable, "-W", "ignore", "-m", "mlflow", "server"]
    server += ["--host", HOST, "--port", str(port), "--workers", "1"]
    variables = {
        # An address with a password is not for the list of processes.
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **server_settings.mlflow_variables(HOST, port),
    }
    with log.open("w") as output:
        guard = subprocess.Popen(
            [sys.executable, "-m", "pipelines.tracking.pages.ui", *server],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | variables,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START
        while not answers(f"http://{HOST}:{port}"):
            if guard.poll() is not None or time.monotonic() > deadline:
                last = " / ".join(log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:])
                raise TrackingError(f"MLflow's page did not start: {last or 'no reason given'}", last)
            time.sleep(POLL)
        announce(page)
        return guard.wait()
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = f"port {port} cannot be used ({error.strerror})"
            raise InputError(f"{reason}; name another one with --port") from error


def guard(command: Sequence[str]) -> int:
    """Run a command until it ends or this process's standard input is closed; then its group is ended."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        _end(child)

    threading.Thread(target=end_with_parent, daemon=True).start()
    return child.wait()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End all processes of this group, which is that of the guard."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(END)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
