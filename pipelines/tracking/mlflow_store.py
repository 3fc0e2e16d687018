"""The MLflow store of a checkout: where it is, and the few operations that publishing needs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from pipelines import environment
from pipelines.environment import tracking_uri
from pipelines.tracking import dvc_lock
from pipelines.tracking.lineage_index import MODEL_LINEAGE, TRAINED_ON, Index, ModelLineage
from pipelines.tracking.run_data import Dataset

for _name, _value in environment.QUIET.items():  # mlflow reads its telemetry switch when it is imported
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402
from mlflow.entities import Dataset as MlflowDataset  # noqa: E402
from mlflow.entities import (  # noqa: E402
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    ViewType,
)
from mlflow.entities import (  # noqa: E402
    Run as Run,
)
from mlflow.models.model import MLMODEL_FILE_NAME  # noqa: E402
from mlflow.models.utils import get_external_mlflow_model_spec  # noqa: E402
from mlflow.store.entities.paged_list import PagedList  # noqa: E402

Found = TypeVar("Found")
COMPLETE = "content.complete"
"""Tag of an arm's run once all of it is there."""
HASH_WITHOUT_SEED = "content.but_seed"
"""Tag of an arm's run: the same for runs that differ in the seed alone."""
LINEAGE = "content.lineage"
"""Tag of an arm's run once it says what the arm was made from, whether or not it is evaluated."""
SCORES = "eval/scores.json"
"""Artifact of a run with an evaluation: `pipelines.tracking.run_data.Scores`."""
SOURCES = {"s3": "s3", "http": "http", "https": "http"}
"""Scheme of a DVC remote -> MLflow's type of a dataset source."""
SHARED_VIEW = "mlflow.sharedViewState"
"""Tag of an experiment, before the key of the view."""
SKEW = 600_000
"""Milliseconds by which the clocks of publishers may differ."""
BATCH = 1000
"""MLflow takes no more metrics in one call."""


def _make_default(uri: str) -> None:
    """Registering a version looks its model up through mlflow's default, whatever the client's URI."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if given is None:
        # It sets the variable, which from then on would pass for the user's choice.
        os.environ.pop("MLFLOW_TRACKING_URI", None)


class Store:
    """A connection to the experiment of a project. Creates database and experiment on first use."""

    def __init__(self, root: Path, experiment: str) -> None:
        self.root, self.name, self.uri = root, experiment, tracking_uri(root)
        # The migrations of a fresh database are logged one by one.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        _make_default(self.uri)
        with self.exclusive():  # two first users of a SQLite file would both create its tables
            self.client = mlflow.MlflowClient(self.uri, registry_uri=self.uri)
            found = self.client.get_experiment_by_name(experiment)
            self.experiment: str = found.experiment_id if found else self._create_experiment(experiment)

    def _create_experiment(self, name: str) -> str:
        local = self.uri.startswith("sqlite:")
        folder = (self.root.resolve() / "mlartifacts").as_uri() if local else None
        return str(self.client.create_experiment(name, artifact_location=folder))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Only one process of this checkout at a time looks for runs and creates the missing ones."""
        path = self.root / "logs" / "tracking.lock"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def find(self, **tags: str) -> Run | None:
        """The run with this `content` or `flow_run`."""
        [(name, value)] = tags.items()
        found = self.tagged(**{{"content": "content", "flow_run": "hpt.flow_run"}[name]: value})
        return found[0] if found else None

    def children(self, parent: Run) -> list[Run]:
        return self.tagged(**{"mlflow.parentRunId": parent.info.run_id})

    def tagged(self, **tags: str) -> list[Run]:
        """Runs with all of these tags, the oldest first."""
        return self._search(" and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items()))

    def _search(self, query: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        search = partial(self.client.search_runs, [self.experiment], query, view)
        return list(self.pages(partial(search, order_by=["attributes.start_time ASC"])))

    @staticmethod
    def pages(search: Callable[..., PagedList[Found]]) -> Iterator[Found]:
        """Everything that a search of MLflow's client finds."""
        token = None
        while True:
            page = search(page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def index(self) -> Index:
        """Of lineage, made from what is published where it is missing."""
        index = Index(self.root, self.name)
        if not index.present:
            self.synchronise(index)
        return index

    def synchronise(self, index: Index) -> None:
        """Add the runs and the registered versions that others have published since the last time."""
        now, since = self.now(), index.synchronised() - SKEW
        known = index.runs()
        query = f"tags.`{LINEAGE}` = 'true' and attributes.end_time > {max(since, 0)}"
        found = self._search(query, ViewType.ALL)  # models of a deleted run may live on
        index.add(self._lineage(run) for run in found if run.info.run_id not in known)
        ours, latest = index.runs(), ["creation_timestamp DESC"]
        newest_first = self.pages(
            partial(self.client.search_model_versions, max_results=100, order_by=latest)
        )
        for version in takewhile(lambda version: version.creation_timestamp > since, newest_first):
            if version.run_id in ours:
                index.register(version.name, {int(version.version): version.run_id})
        index.mark_synchronised(now)

    def _lineage(self, run: Run) -> tuple[str, ModelLineage, dict[str, int]]:
        made_from = self.read_text(run.info.run_id, MODEL_LINEAGE)
        trained = json.loads(self.read_text(run.info.run_id, TRAINED_ON))
        return run.info.run_id, ModelLineage.from_json(made_from), trained

    def read_text(self, run_id: str, path: str) -> str:
        """An artifact of a run."""
        with tempfile.TemporaryDirectory() as folder:
            return Path(self.client.download_artifacts(run_id, path, folder)).read_text("utf-8")

    def view(self, benchmarks: Iterable[str], port: int) -> str:
        """Address of the page with the runs grouped by provenance, a view that is saved with the experiment.

        port: of `hpt ui`, where no server was named.
        """
        columns = [f"metrics.`eval/{name}/avg_at_k`" for name in benchmarks]
        state = {
            "groupBy": {
                "aggregateFunction": "average",
                "groupByKeys": [{"mode": "tag", "groupByData": "provenance"}],
            },
            "selectedColumns": ["attributes.`Dataset`", *columns, "params.`seed`"],
        }
        # As the page's Share button keeps it.
        tag = f"{SHARED_VIEW}.provenance"
        self.client.set_experiment_tag(self.experiment, tag, json.dumps(state))
        server = self.uri.rstrip("/") if self.uri.startswith("http") else f"http://127.0.0.1:{port}"
        query = "workflowType=machine_learning&viewStateShareKey=provenance"
        return f"{server}/#/experiments/{self.experiment}/runs?{query}"

    def create(self, name: str, tags: Mapping[str, str]) -> Run:
        return self.client.create_run(self.experiment, run_name=name, tags=dict(tags))

    def adopt(self, run: Run, parent: Run) -> None:
        """Take up an unfinished run under another parent."""
        self.client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)
        self.client.update_run(run.info.run_id, status="RUNNING")

    def end(self, run: Run, status: str) -> None:
        self.client.set_terminated(run.info.run_id, status)

    @staticmethod
    def now() -> int:
        return int(time.time() * 1000)

    def log_steps(
        self, run: Run, steps: Iterable[Mapping[str, Any]], known: set[tuple[str, int]] | None = None
    ) -> None:
        """Every number of every step, less the (metric, step) pairs that are `known` to be there."""
        now, present = self.now(), known or set()
        metrics = [
            Metric(key, float(value), now, int(row["step"]))
            for row in steps
            for key, value in row.items()
            if key != "step" and isinstance(value, int | float) and (key, int(row["step"])) not in present
        ]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + BATCH])

    def known(self, run: Run) -> set[tuple[str, int]]:
        """The (metric, step) pairs that a run has."""
        identity = run.info.run_id
        keys = self.client.get_run(identity).data.metrics
        return {(key, m.step) for key in keys for m in self.client.get_metric_history(identity, key)}

    def last_step(self, run: Run) -> int:
        """The last step that was logged whole; -1 for none. A step is logged in one call."""
        return max((step for _, step in self.known(run)), default=-1)

    def log_datasets(self, run: Run, datasets: Sequence[Dataset]) -> None:
        inputs = [
            DatasetInput(
                MlflowDataset(
                    data.name,
                    data.digest,
                    *self._source(data),
                    profile=json.dumps({"num_rows": data.rows}),
                ),
                [InputTag("mlflow.data.context", data.context)],
            )
            for data in datasets
        ]
        self.client.log_inputs(run.info.run_id, inputs)

    def _source(self, data: Dataset) -> tuple[str, str]:
        """Type and JSON of a source: MLflow's page shows a link for the types that it knows."""
        url = dvc_lock.remote_url(self.root, data.digest) or data.path
        kind = SOURCES.get(url.partition("://")[0], "local")
        return kind, json.dumps({"url" if kind == "http" else "uri": url})

    def model(self, run: Run, name: str, step: int, tags: Mapping[str, str]) -> str:
        """Id of the run's model. Its weights stay with DVC: MLflow gets a name to hang metrics on."""
        if run.outputs and run.outputs.model_outputs:
            return str(run.outputs.model_outputs[0].model_id)
        model = self.client.create_logged_model(
            self.experiment, name, run.info.run_id, tags={"mlflow.model.isExternal": "true", **tags}
        )
        with tempfile.TemporaryDirectory() as folder:
            # Without this file the model could not be registered.
            get_external_mlflow_model_spec(model).save(f"{folder}/{MLMODEL_FILE_NAME}")
            self.client.log_model_artifacts(model.model_id, folder)
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step)])
        return str(model.model_id)

    def log_table(self, run: Run, path: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A table for MLflow's evaluation page, replacing the one of that name."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.client.log_text(run.info.run_id, json.dumps({"columns": list(columns), "data": rows}), path)
        self.client.set_tag(
            run.info.run_id, "mlflow.loggedArtifacts", json.dumps([{"path": path, "type": "table"}])
        )
