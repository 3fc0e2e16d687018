"""Runs that a test has published from the toy project."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def runs(root: Path, **tags: str) -> list[Any]:
    from pipelines.tracking.mlflow_store import Store

    store = Store(root, "toy")
    all_runs = store.client.search_runs([store.experiment])
    return [run for run in all_runs if all(run.data.tags.get(k) == v for k, v in tags.items())]


def history(root: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    from pipelines.tracking.mlflow_store import Store

    points = Store(root, "toy").client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)
