"""Writes metrics, datasets, a model, tables and figures into one MLflow run."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.models.utils import get_external_mlflow_model_spec

from pipelines.tracking.mlflow_store import TAG_LENGTH, Run, Store
from pipelines.tracking.run_data import Dataset
from pipelines.tracking.run_layout import ARTIFACTS_TAG, SETTINGS_FILE, SETTINGS_TAG

SOURCE_TYPES = {"s3": "s3", "http": "http", "https": "http"}
"""Scheme of a DVC remote -> MLflow's type of a dataset source."""
ATTEMPTS = 8
RACES = ("UniqueViolation", "UNIQUE constraint", "Duplicate entry", "duplicate key")
"""What databases say of a row that another process has just written."""
BATCH = 1000
"""MLflow accepts no more metrics in one call."""


class RunWriter:
    """Writes into `run`."""

    def __init__(self, store: Store, run: Run) -> None:
        self.run = run
        self._store, self._client, self._id = store, store.client, run.info.run_id

    def tag(self, name: str, value: str) -> None:
        self._client.set_tag(self._id, name, value)

    def text(self, path: str, text: str) -> None:
        """Write an artifact, replacing the one of that name."""
        self._client.log_text(self._id, text, path)

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Write how the evaluation of the run was made: a tag, or a file where a tag has no room."""
        text = json.dumps(settings, sort_keys=True)
        if len(text) > TAG_LENGTH:
            self.text(SETTINGS_FILE, text)
            text = SETTINGS_FILE
        self.tag(SETTINGS_TAG, text)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Write the tags that the run does not have yet, or has with another value."""
        known = self.run.data.tags
        missing = [RunTag(key, value) for key, value in tags.items() if known.get(key) != value]
        if missing:
            self._client.log_batch(self._id, tags=missing)

    def file(self, path: str, folder: str) -> None:
        """Copy a file into a folder of artifacts."""
        self._client.log_artifact(self._id, path, folder)

    def params(self, params: Mapping[str, str]) -> None:
        """Write the parameters that the run does not have yet."""
        missing = [Param(k, v) for k, v in params.items() if k not in self.run.data.params]
        self._client.log_batch(self._id, params=missing)

    def steps(self, steps: Iterable[Mapping[str, Any]], logged: set[tuple[str, int]] | None = None) -> None:
        """Write every number of every step, except the (metric, step) pairs that are already `logged`."""
        now, skip = self._store.now(), logged or set()
        metrics = [
            Metric(key, float(value), now, int(row["step"]))
            for row in steps
            for key, value in row.items()
            if key != "step" and isinstance(value, int | float) and (key, int(row["step"])) not in skip
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + BATCH])

    def numbers(self, metrics: Mapping[str, float]) -> None:
        """Write metrics that belong to no step, where the run does not have that value yet."""
        now, known = self._store.now(), self.run.data.metrics
        entries = [Metric(key, v, now, 0) for key, v in metrics.items() if known.get(key) != v]
        if entries:
            self._client.log_batch(self._id, metrics=entries)

    def logged(self) -> set[tuple[str, int]]:
        """The (metric, step) pairs that the run has."""
        keys = self._client.get_run(self._id).data.metrics
        return {(key, m.step) for key in keys for m in self._client.get_metric_history(self._id, key)}

    def last_step(self) -> int:
        """The last step in the run; -1 for none. All metrics of a step are written in one call."""
        return max((step for _, step in self.logged()), default=-1)

    def evaluation(
        self,
        prefix: str,
        metrics: Mapping[str, Mapping[str, float]],
        datasets: Mapping[str, Dataset],
        step: int,
        model: str | None = None,
    ) -> None:
        """Write benchmark -> metric -> value as PREFIX/BENCHMARK/METRIC, linked to the dataset."""
        self.datasets(list(datasets.values()))
        now = self._store.now()
        entries = [
            Metric(
                f"{prefix}/{benchmark}/{name}",
                value,
                now,
                step,
                model_id=model,
                dataset_name=datasets[benchmark].name,
                dataset_digest=datasets[benchmark].digest,
            )
            for benchmark, values in metrics.items()
            for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=entries)

    def datasets(self, datasets: Sequence[Dataset]) -> None:
        inputs = [
            DatasetInput(
                MlflowDataset(
                    dataset.name,
                    dataset.digest,
                    *self._source(dataset),
                    schema=dataset.schema,
                    profile=json.dumps({"num_rows": dataset.rows}),
                ),
                [InputTag("mlflow.data.context", dataset.context)],
            )
            for dataset in datasets
        ]
        for attempt in range(ATTEMPTS):
            try:
                self._client.log_inputs(self._id, inputs)
                return
            except Exception as error:
                # Where two runs bring the same new dataset at once, MLflow lets the second fail.
                if attempt + 1 == ATTEMPTS or not any(words in str(error) for words in RACES):
                    raise
                time.sleep(random.uniform(0.1, 1.0))

    def _source(self, dataset: Dataset) -> tuple[str, str]:
        """Type and JSON of a source. MLflow's page shows a link for the types that it knows."""
        url = self._store.remote.url(dataset.digest) or dataset.path
        kind = SOURCE_TYPES.get(url.partition("://")[0], "local")
        return kind, json.dumps({"url" if kind == "http" else "uri": url})

    def model(self, name: str, step: int, tags: Mapping[str, str]) -> str:
        """Id of the run's model, which is created where it is missing.

        The weights stay with DVC. MLflow's model is a name that metrics are linked to.
        """
        if self.run.outputs and self.run.outputs.model_outputs:
            return str(self.run.outputs.model_outputs[0].model_id)
        model = self._client.create_logged_model(
            self._store.experiment, name, self._id, tags={"mlflow.model.isExternal": "true", **tags}
        )
        with tempfile.TemporaryDirectory() as folder:
            # Without this file the model could not be registered.
            get_external_mlflow_model_spec(model).save(f"{folder}/{MLMODEL_FILE_NAME}")
            self._client.log_model_artifacts(model.model_id, folder)
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self._id, [LoggedModelOutput(model.model_id, step)])
        return str(model.model_id)

    def table(self, path: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write a table for MLflow's evaluation page, replacing the one of that name."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.text(path, json.dumps({"columns": list(columns), "data": rows}))
        self.tag(ARTIFACTS_TAG, json.dumps([{"path": path, "type": "table"}]))

    def figures(self, figures: Mapping[str, str]) -> None:
        """Write name -> SVG as figures/NAME.svg, replacing figures of the same name."""
        for name, svg in figures.items():
            self.text(f"figures/{name}.svg", svg)
