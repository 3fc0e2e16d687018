"""Keeps the index of lineage in step with what is published and registered in MLflow."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipelines.tracking.lineage.index import Index, ModelLineage
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.run_layout import (
    LINEAGE_FOLDER,
    LINEAGE_TAG,
    MODEL_LINEAGE_FILE,
    REPEATED_TAG,
    TRAINED_ON_FILE,
)

CLOCK_SKEW = 600_000
"""Milliseconds by which the clocks of publishers may differ."""


def repeated(version: ModelVersion) -> dict[str, str]:
    """Content -> run, of the arms that were trained to the weights of a registered version after it."""
    return {
        k.removeprefix(REPEATED_TAG): run for k, run in version.tags.items() if k.startswith(REPEATED_TAG)
    }


def index_of(store: Store) -> Index:
    """The index of the experiment, built from the published runs where it is missing."""
    index = Index(store.root, store.name)
    if not index.complete:
        synchronise(store, index)
    return index


def synchronise(store: Store, index: Index) -> None:
    """Add the runs and registered versions that were published since the index was last updated."""
    now, since = store.now(), index.synchronised() - CLOCK_SKEW
    indexed = index.runs()
    query = f"tags.`{LINEAGE_TAG}` = 'true' and attributes.end_time > {max(since, 0)}"
    # Deleted runs are included, because their registered models may still exist.
    published = store.search(query, ViewType.ALL)
    index.add(_lineage(run) for run in published if run.info.run_id not in indexed)
    runs, order = index.runs(), ["last_updated_timestamp DESC"]
    newest_first = store.pages(partial(store.client.search_model_versions, max_results=100, order_by=order))
    for version in takewhile(lambda version: (version.last_updated_timestamp or 0) > since, newest_first):
        trained = [version.run_id, *repeated(version).values()]
        index.register(version.name, [(int(version.version), run) for run in trained if run in runs])
    index.mark_synchronised(now)


def _lineage(run: Run) -> tuple[str, ModelLineage, dict[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        # The client would read the whole run again, and where the index is lost, that is every run.
        repository: Any = get_artifact_repository(run.info.artifact_uri)
        repository.download_artifacts(LINEAGE_FOLDER, folder)
        lineage, trained = (
            Path(folder, name).read_text("utf-8") for name in (MODEL_LINEAGE_FILE, TRAINED_ON_FILE)
        )
    return run.info.run_id, ModelLineage.from_json(lineage), json.loads(trained)
