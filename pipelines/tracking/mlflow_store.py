"""The MLflow experiment of a checkout: its runs are found, created, moved and ended here."""

from __future__ import annotations

import fcntl
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Run as Run
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList

from pipelines import paths
from pipelines.environment import tracking_uri
from pipelines.tracking.checkout import artifact_folder, checkout_id, owner_tags, relocate
from pipelines.tracking.connection import connect, is_database, try_database
from pipelines.tracking.dvc_lock import Remote
from pipelines.tracking.evaluation_data import Measurement
from pipelines.tracking.run_layout import (
    CHECKOUT_TAG,
    COMPARISON_TAG,
    COMPLETE_TAG,
    CONTENT_TAG,
    ENDED_TAG,
    FLOW_RUN_TAG,
    NOTE_TAG,
    PARENT_TAG,
    SCORES_FILE,
    SETTINGS_FILE,
    SETTINGS_TAG,
)

T = TypeVar("T")
TAG_LENGTH = 8000
"""MLflow accepts no longer value of a tag."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's page then opens on runs and charts, and not on traces of an application."""
LIVELY = 3_600_000
"""Milliseconds without a sign of life after which a run of another checkout counts as abandoned."""
FEW = 20
"""Runs in one answer where the newest ones suffice."""


def _precedence(run: Run) -> tuple[bool, str]:
    """Of several runs of one content, the first in this order counts."""
    return COMPLETE_TAG not in run.data.tags, run.info.run_id


def _conditions(tags: Mapping[str, str]) -> Iterator[str]:
    """The terms of a search for runs with these tags."""
    return (f"tags.`{key}` = '{value}'" for key, value in tags.items())


class Store:
    """A connection to the experiment of a project. The first use creates the database and the experiment."""

    def __init__(self, root: Path, experiment: str) -> None:
        self.root, self.name, self.uri = root, experiment, tracking_uri(root)
        self.local = self.uri == f"sqlite:///{root.resolve() / 'mlflow.db'}"
        """The database is this checkout's own."""
        if is_database(self.uri):
            try_database(self.uri)
        with self.exclusive():  # Two first users of a SQLite file would both create its tables.
            self.client = connect(self.uri)
            existing = self.client.get_experiment_by_name(experiment)
            self.experiment: str = existing.experiment_id if existing else self._create_experiment(experiment)
            if existing and self.local:
                relocate(root, existing.artifact_location)

    @cached_property
    def remote(self) -> Remote:
        """Where the datasets of the runs are kept."""
        return Remote(self.root)

    def _create_experiment(self, name: str) -> str:
        # Without a server MLflow would write to the folder in which each process stands.
        folder = artifact_folder(self.root) if is_database(self.uri) else None
        try:
            return str(self.client.create_experiment(name, artifact_location=folder, tags=EXPERIMENT_TAGS))
        except MlflowException as error:
            existing = self.client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or existing is None:
                raise
            return str(existing.experiment_id)  # Another host has just created it.

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock of this checkout, so that two processes do not both create a run that is missing."""
        path = self.root / paths.LOGS / "tracking.lock"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def find_by_content(self, content: str) -> Run | None:
        """The run of an arm that was made from this content."""
        return min(self.tagged({CONTENT_TAG: content}), key=_precedence, default=None)

    def create_once(self, name: str, tags: Mapping[str, str], content: str) -> Run:
        """Create the run of this content, or find that another host has just done so."""
        return self.settle(self.create(name, tags), content)

    def settle(self, run: Run, content: str) -> Run:
        """The one run of this content, which is `run` unless another host creates one at the same time.

        The lock of the checkout does not reach other hosts, and MLflow has no unique key. So each of them
        looks again after it has created its run and before it declares it complete, all prefer the same run,
        and each removes its own if that is another.
        """
        kept = min(self.tagged({CONTENT_TAG: content}), key=_precedence, default=run)
        if kept.info.run_id != run.info.run_id:
            self.client.delete_run(run.info.run_id)
        return kept

    def busy(self, run: Run) -> bool:
        """Whether another checkout seems to be writing the run."""
        if run.info.status != "RUNNING" or run.data.tags.get(CHECKOUT_TAG) in (None, checkout_id(self.root)):
            return False
        key = next(iter(run.data.metrics), None)
        points = self.client.get_metric_history(run.info.run_id, key) if key else []
        last = max([int(run.info.start_time), *(int(point.timestamp) for point in points)])
        return self.now() - last < LIVELY

    def find(self, run_id: str) -> Run | None:
        """The run of this id; None where it does not exist or was deleted."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def find_by_flow_run(self, flow_run: str) -> Run | None:
        """The parent run of a flow run."""
        return next(iter(self.tagged({FLOW_RUN_TAG: flow_run})), None)

    def children(self, parent: Run) -> list[Run]:
        return self.tagged({PARENT_TAG: parent.info.run_id})

    def tagged(self, tags: Mapping[str, str]) -> list[Run]:
        """Runs with all of these tags, the oldest first."""
        return self.search(" and ".join(_conditions(tags)))

    def search(self, query: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        search = partial(self.client.search_runs, [self.experiment], query, view)
        return list(self.pages(partial(search, order_by=["attributes.start_time ASC"])))

    @staticmethod
    def pages(search: Callable[..., PagedList[T]]) -> Iterator[T]:
        """All results of a search by MLflow's client, page after page."""
        token = None
        while True:
            page = search(page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def create(self, name: str, tags: Mapping[str, str]) -> Run:
        return self.client.create_run(self.experiment, run_name=name, tags=dict(tags))

    def move(self, run: Run, parent: Run) -> None:
        """Place a run below another parent, published by this checkout from now on."""
        for key, value in {PARENT_TAG: parent.info.run_id, **owner_tags(self.root)}.items():
            self.client.set_tag(run.info.run_id, key, value)

    def resume(self, run: Run) -> None:
        """Go on with a run that had ended."""
        self.client.update_run(run.info.run_id, status="RUNNING")
        if ENDED_TAG in run.data.tags:
            self.client.delete_tag(run.info.run_id, ENDED_TAG)
            self.client.delete_tag(run.info.run_id, NOTE_TAG)

    def end(self, run: Run, status: str) -> None:
        """Status: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run.info.run_id, status)

    def kill(self, run: Run, reason: str) -> None:
        """End a run as KILLED, with the reason in a tag and at the top of its page."""
        note = f"**Ended before it was complete:** {reason}"
        for key, value in {ENDED_TAG: reason, NOTE_TAG: note}.items():
            self.client.set_tag(run.info.run_id, key, value[:TAG_LENGTH])
        self.end(run, "KILLED")

    def newest_first(self, tags: Mapping[str, str]) -> Iterator[Run]:
        """Runs with all of these tags, a few at a time: a project has thousands of nights."""
        search = partial(self.client.search_runs, [self.experiment], " and ".join(_conditions(tags)))
        return self.pages(partial(search, max_results=FEW, order_by=["attributes.start_time DESC"]))

    def newest_comparison(self) -> str | None:
        """The id of the parent run that compared its policies last."""
        query = f"tags.`{FLOW_RUN_TAG}` LIKE '%' and tags.`{COMPARISON_TAG}` LIKE '%'"
        found = self.client.search_runs(
            [self.experiment],
            f"{query} and attributes.status = 'FINISHED'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return found[0].info.run_id if found else None

    def running(self, tags: Mapping[str, str]) -> list[Run]:
        """Runs with all of these tags that are shown as running."""
        return self.search(" and ".join(["attributes.status = 'RUNNING'", *_conditions(tags)]))

    def aliases(self, model: str) -> dict[str, str]:
        """Alias -> version of a registered model; empty where nothing is registered."""
        found = self.client.search_registered_models(f"name = '{model}'")
        return dict(found[0].aliases) if found else {}

    def read_text(self, run_id: str, path: str) -> str:
        """The text of an artifact of a run."""
        with tempfile.TemporaryDirectory() as folder:
            return Path(self.client.download_artifacts(run_id, path, folder)).read_text("utf-8")

    def read_measurement(self, run: Run) -> Measurement:
        """The score of every prompt in the evaluation of a run, and how they were measured."""
        scores = json.loads(self.read_text(run.info.run_id, SCORES_FILE))
        settings = run.data.tags.get(SETTINGS_TAG, "{}")
        if settings == SETTINGS_FILE:
            settings = self.read_text(run.info.run_id, SETTINGS_FILE)
        return Measurement(scores, json.loads(settings))

    @staticmethod
    def now() -> int:
        """Milliseconds since 1970."""
        return int(time.time() * 1000)
