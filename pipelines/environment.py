"""Environment variables that keep the libraries quiet, offline and inside the checkout.

They are only defaults, so variables that the user has set stay. They must be set before prefect, mlflow or
dvc is imported, and this module imports none of them. HF_HUB_OFFLINE is not set, since a recipe may name a
hub model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipelines import messages

QUIET = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Training must not wait for minutes for a tracking server that is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # The default of 20 s is too short for a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s | %(task_run_name)s | %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s | flow | %(message)s",
}
"""Defaults of every process."""

FLOW_RUN, FLOW_RUN_NAME = "HPT_FLOW_RUN", "HPT_FLOW_RUN_NAME"
"""The flow sets these for its stages: id and name of the flow run, which has a parent run in MLflow."""

SERVER = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
"""With any of these the user has chosen a Prefect server or database."""


def prepare(root: Path) -> None:
    """Set the defaults for this process, which works in the checkout `root`, and clean what it logs."""
    messages.install()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not any(name in os.environ for name in SERVER):
        # The ephemeral database belongs to the checkout, so a broken ~/.prefect cannot stop a run.
        os.environ["PREFECT_HOME"] = str(root.resolve() / ".prefect")
    # `python` and `dvc` in dvc.yaml must be those of the Python environment of this process.
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *path])


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite file in the checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"
