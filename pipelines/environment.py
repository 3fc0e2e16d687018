"""Environment variables that keep the libraries quiet, offline, and in the checkout or on its running stack.

They are only defaults, so variables that the user has set stay. They must be set before prefect, mlflow or
dvc is imported, and this module imports none of them. HF_HUB_OFFLINE is not set, since a recipe may name a
hub model.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import messages

QUIET = {
    "AWS_EC2_METADATA_DISABLED": "true",
    # S3 servers other than Amazon's may refuse the checksums that its libraries send by default.
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Training must not wait for minutes for a tracking server that is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # The least that Prefect takes. A run counts as dead after several missed ones (alerts.crashed_after_s).
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # The default of 20 s is too short for a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s | %(task_run_name)s | %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s | flow | %(message)s",
}
"""Defaults of every process."""

SERVER_OF_RUN = "HPT_PREFECT_SERVER_OF_RUN"
"""`hpt run` sets this where it has started a Prefect server that ends with it."""
FLOW_RUN, FLOW_RUN_NAME = "HPT_FLOW_RUN", "HPT_FLOW_RUN_NAME"
"""The flow sets these for its stages: id and name of the flow run, which has a parent run in MLflow."""
CHECKOUT = "HPT_CHECKOUT"
"""The worker of a pool sets this for the stage that it runs: the id of the checkout of the flow."""

SERVER = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
"""With any of these the user has chosen a Prefect server or database."""

STACK = Path(".stack")
"""State, secrets and data of the servers of `hpt stack`."""
STACK_LOCK = STACK / "running"
"""Each server of the stack holds a shared lock on this file; the kernel frees it when the last one ends."""
STACK_STATE = STACK / "state.json"
"""It is there from `hpt stack up` to `hpt stack down`."""
STACK_CONNECTION = STACK / "env"
"""The variables by which clients reach the servers; only its owner can read it."""
CHOICES = {
    "PREFECT_": (*SERVER, "PREFECT_API_KEY"),
    "MLFLOW_": ("MLFLOW_TRACKING_TOKEN",),
    "AWS_": ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL"),
}
"""Prefix of variables that belong together -> others by which the user has chosen another service."""


def prepare(root: Path) -> None:
    """Set the defaults for this process, which works in the checkout `root`, and clean what it logs.

    Raises InputError where the checkout's stack runs for another user.
    """
    messages.install()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        if stack_runs(root):
            connect(parse((root / STACK_CONNECTION).read_text(encoding="utf-8")))
    except PermissionError as error:
        raise InputError(f"{error.filename}: the stack is another user's; work as that user") from error
    if not any(name in os.environ for name in SERVER):
        # The ephemeral database belongs to the checkout, so a broken ~/.prefect cannot stop a run.
        os.environ["PREFECT_HOME"] = str(root.resolve() / ".prefect")
    # `python` and `dvc` in dvc.yaml must be those of the Python environment of this process.
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *path])


def stack_runs(root: Path) -> bool:
    """Whether a server of the checkout's stack is running, which is known without asking it."""
    try:
        lock = os.open(root / STACK_LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Another process that asks at the same moment holds the lock for microseconds.
        for _ in range(3):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.001)
            else:
                return False
        return True
    finally:
        os.close(lock)


def stack_stopped(root: Path) -> bool:
    """Whether the checkout's stack was started, and has ended without `hpt stack down`."""
    return (root / STACK_STATE).exists() and not stack_runs(root)


def connect(variables: dict[str, str]) -> None:
    """Set the variables of each service, unless the user has chosen another one.

    They are set together or not at all, so that no password goes to a server of the user's.
    """
    for prefix, choices in CHOICES.items():
        group = {name: value for name, value in variables.items() if name.startswith(prefix)}
        if any(name in os.environ and name not in group for name in choices):
            continue
        if all(os.environ.get(name, value) == value for name, value in group.items()):
            os.environ.update(group)


def parse(text: str) -> dict[str, str]:
    """The variables of a file with a line NAME=VALUE for each."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite file in the checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"
