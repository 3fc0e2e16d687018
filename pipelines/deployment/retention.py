"""What no result depends on is removed in time: runs in Prefect's tables, deleted runs in MLflow's.

Lineage needs every run that MLflow shows, so only runs that somebody has deleted there are removed for good.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.exceptions import ObjectNotFound

from pipelines import environment
from pipelines.deployment.specification import FLOWS
from pipelines.params.sections import RetentionConfig

PAGE = 200
"""Runs that one request asks for."""
LIMIT = 600
"""Seconds that MLflow's removal may take."""
COLLECT = (
    "import os, sys; from mlflow.cli import gc; "
    "gc(['--backend-store-uri', os.environ['MLFLOW_TRACKING_URI'], '--older-than', sys.argv[1]])"
)
"""`mlflow gc`, which takes the URI from its command line only."""


@dataclass(frozen=True)
class Removed:
    """What retention has removed; its text is the message of the flow's state."""

    flow_runs: int
    mlflow: str
    problem: bool = False

    def __str__(self) -> str:
        return f"{self.flow_runs} runs removed from Prefect; MLflow: {self.mlflow}"


def remove_old(root: Path, config: RetentionConfig, this_run: str) -> Removed:
    """Remove what is older than `config` allows, and never the run `this_run`."""
    before = datetime.now(UTC) - timedelta(days=config.flow_runs_days)
    with get_client(sync_client=True) as client:
        flow_runs = sum(_delete_page(client, page) for page in _ended_before(client, before, UUID(this_run)))
    message, problem = _collect_mlflow(root, config.deleted_mlflow_runs_days)
    return Removed(flow_runs, message, problem)


def _ended_before(client: SyncPrefectClient, before: datetime, this_run: UUID) -> Iterator[list[UUID]]:
    """Pages of runs of this project that ended before `before`; the caller deletes each before the next."""
    selection = FlowRunFilter.model_validate(
        {
            "end_time": {"before_": before},
            "state": {"type": {"any_": ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]}},
            "id": {"not_any_": [this_run]},
        }
    )
    ours = FlowFilter.model_validate({"name": {"any_": list(FLOWS)}})
    while page := client.read_flow_runs(flow_filter=ours, flow_run_filter=selection, limit=PAGE):
        yield [run.id for run in page]


def _delete_page(client: SyncPrefectClient, runs: list[UUID]) -> int:
    for run in runs:
        with suppress(ObjectNotFound):  # Somebody else may have deleted it in between.
            client.delete_flow_run(run)
    return len(runs)


def _collect_mlflow(root: Path, days: int) -> tuple[str, bool]:
    """Remove deleted runs with their artifacts where this machine reaches MLflow's database."""
    uri = environment.tracking_uri(root)
    if uri.startswith("http"):
        return "its server's machine removes deleted runs (docs/operations.md)", False
    # Every user of the machine reads command lines, and the URI of a database has its password.
    command = [sys.executable, "-c", COLLECT, f"{days}d"]
    try:
        finished = subprocess.run(
            command,
            cwd=root,
            env=os.environ | {"MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return f"mlflow gc took more than {LIMIT} s", True
    output = (finished.stdout + finished.stderr).strip()
    if finished.returncode:
        return f"mlflow gc failed: {output.splitlines()[-1] if output else finished.returncode}", True
    return f"{output.count('permanently deleted')} deleted runs removed for good", False
