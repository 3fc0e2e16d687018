"""What MLflow's page of the experiment opens on: views that are saved with it, and the links to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hpt_core.redaction import without_user
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.run_layout import COMPARISON_TAG, NOTE_TAG

SHARED_VIEW_TAG = "mlflow.sharedViewState"
"""Tag of an experiment, before the key of a view that is saved with it."""
VIEW = "provenance"
PRIMARY_TAG = "mlflow.experiment.primaryMetric.name"
"""Tag of an experiment: the metric whose chart comes first."""
WITH_INTERVAL = 160
"""Pixels of a column with a value and its interval, which MLflow cuts off by default."""
MODE = "workflowType=machine_learning"
"""Part of an address: MLflow's page shows runs, charts and models, and not traces."""


def save_views(store: Store, benchmarks: Sequence[str], comparison: str | None = None) -> None:
    """Save with the experiment what its page shows first: curves and accuracies, grouped by provenance.

    comparison: id of a parent run, whose policies the view then shows; by default that of the newest run.
    """
    comparison = comparison or store.newest_comparison()
    columns = [f"{kind}.{name}" for name in benchmarks for kind in ("accuracy", "gain")]
    state: dict[str, Any] = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "provenance"}],
        },
        "selectedColumns": [
            *(f"tags.`{column}`" for column in columns),
            *(f"metrics.`accuracy/{name}`" for name in benchmarks),
            "params.`seed`",
        ],
        "columnWidths": {f"tags.`{column}`": WITH_INTERVAL for column in columns},
    }
    if comparison is not None:
        state["searchFilter"] = f"tags.`{COMPARISON_TAG}` = '{comparison}' and tags.provenance LIKE '%'"
    note = (
        "Held-out accuracy and curves of every arm, grouped by provenance: "
        f"[open the comparison](#{comparison_path(store)})"
    )
    tags = {
        # The page's Share button saves views in the same form.
        f"{SHARED_VIEW_TAG}.{VIEW}": json.dumps(state),
        PRIMARY_TAG: f"accuracy/{benchmarks[0]}" if benchmarks else "",
        NOTE_TAG: note,
        "mlflow.experimentKind": "custom_model_development",
    }
    known: dict[str, Any] = store.client.get_experiment(store.experiment).tags
    for key, value in tags.items():
        if value and known.get(key) != value:
            store.client.set_experiment_tag(store.experiment, key, value)


def comparison_path(store: Store) -> str:
    """The part after # of the address of the comparison."""
    return f"/experiments/{store.experiment}/runs?{MODE}&compareRunsMode=CHART&viewStateShareKey={VIEW}"


def address(store: Store, path: str, port: int) -> str:
    """The address of a page; port: that of `hpt ui`, for a project without a tracking server."""
    server = (
        without_user(store.uri).rstrip("/") if store.uri.startswith("http") else f"http://127.0.0.1:{port}"
    )
    return f"{server}/#{path}"


def run_link(store: Store, text: str, run_id: str) -> str:
    """A link to a run, for a description in Markdown on the same server."""
    return f"[{text}](#/experiments/{store.experiment}/runs/{run_id})"


def run_address(store: Store, run_id: str) -> str:
    """The address of a run's page; without a tracking server, the command that shows it."""
    if not store.uri.startswith("http"):
        return "hpt ui"
    return f"{without_user(store.uri).rstrip('/')}/#/experiments/{store.experiment}/runs/{run_id}"
