"""Ends the MLflow runs whose process is gone, so that none is shown as running that does not run."""

from __future__ import annotations

from pathlib import Path

from pipelines import paths
from pipelines.environment import tracking_uri
from pipelines.params import load_params
from pipelines.tracking.checkout import checkout_id
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.run_layout import CHECKOUT_TAG, PARENT_TAG


def close_dead_runs(root: Path, alive: str | None, reason: str) -> list[str]:
    """End every MLflow run of this checkout that is RUNNING as KILLED; returns their names.

    alive: id of the flow run that goes on, whose runs are left alone. reason: kept with the runs, in a tag
    and in their description. Runs that another checkout publishes to the same server are never touched.

    Raises TrackingError where MLflow fails.
    """
    database = tracking_uri(root).removeprefix("sqlite:///")
    if database == str(root.resolve() / "mlflow.db") and not Path(database).exists():
        return []  # Nothing was ever published, and creating the database takes seconds.
    from pipelines.tracking.mlflow_store import Store

    with tracking_errors(root):
        store = Store(root, load_params(root / paths.PARAMS).tracking.experiment)
        # A publication of this checkout that is going on holds the lock, and its runs are not dead.
        with store.exclusive():
            running = store.running({} if store.local else {CHECKOUT_TAG: checkout_id(root)})
            parent = store.find_by_flow_run(alive) if alive else None
            kept = parent.info.run_id if parent else ""
            dead = [run for run in running if kept not in (run.info.run_id, run.data.tags.get(PARENT_TAG))]
            for run in dead:
                store.kill(run, reason)
    return [str(run.info.run_name) for run in dead]
