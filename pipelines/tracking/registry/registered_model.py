"""The registered model of a project: its versions, its aliases and the history of its champions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import TypedDict

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipelines import paths
from pipelines.tracking import dvc_lock
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Measurement
from pipelines.tracking.lineage.synchronisation import index_of, repeated
from pipelines.tracking.mlflow_store import TAG_LENGTH, Run, Store
from pipelines.tracking.registry.version_page import (
    first_description,
    origin,
    with_decision,
    with_line,
)
from pipelines.tracking.run_layout import COMPLETE_TAG, CONTENT_TAG, REPEATED_TAG

HISTORY_TAG = "champion.history"
"""Tag of the registered model: the versions that `RegisteredModel.champion_history` gives."""
SINCE_TAG = "champion.since"
"""Tag of a version: when the promotion gate made it champion."""
ROLLBACK_TAG, RESTORED_TAG = "rollback", "restored"
"""Tags of a version: when and why it was rolled back, and when and why it became champion again."""
REASON_TAG = "promotion"
"""Tag of a version: the last decision of the promotion gate on it."""
WEIGHTS_TAG = "dvc.model"
"""Tag of a version: the DVC hash of its weights."""
LATEST_TAG = "dvc.model.run"
"""Tag of a version whose weights were trained again: the run that did so last."""
ATTEMPTS_TAG = "promotion.attempts"
"""Tag of a version: its attempts to become champion, a JSON list of `Attempt`."""
REMEASURED_FILE = "eval/remeasured-{}.json"
"""A `Measurement` of a champion whose evaluation was repeated, by the hash of the settings."""
STARTING_POLICY = "base"
"""What an attempt before the first champion is against."""


class Attempt(TypedDict):
    """A comparison of a version with a champion by the promotion gate."""

    against: str
    """The champion's version, or STARTING_POLICY."""
    number: int
    """Counts from 1 for each of these."""
    compared: str
    """Hash of the scores that were compared. The same scores again are the same attempt."""


class RegisteredModel:
    """The registered model of that name, created where it is missing."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self.name = store, name
        self.changed = False
        """Whether anything was written to the registry."""
        self._client: MlflowClient = store.client
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        search = partial(self._client.search_model_versions, f"name='{name}'")
        versions = list(store.pages(search))
        self._by_number = {str(version.version): version for version in versions}
        self._by_content: dict[str, ModelVersion] = {}
        self._by_weights: dict[str, ModelVersion] = {}
        for version in sorted(versions, key=lambda version: int(version.version), reverse=True):
            for content in (version.tags.get(CONTENT_TAG, ""), *repeated(version)):
                self._by_content[content] = version
            self._by_weights[version.tags.get(WEIGHTS_TAG, "")] = version

    def version(self, arm: str, lock: Lock) -> ModelVersion | None:
        """The version of an arm's present weights, registered if it is missing; None if not yet published."""
        content = dvc_lock.locked_digest(lock, f"train@{arm}")
        assert content is not None
        if content not in self._by_content:
            run = self._store.find_by_content(content)
            if run is None or COMPLETE_TAG not in run.data.tags:
                return None
            weights = str(dvc_lock.output_hash(lock, str(paths.model(arm))))
            same = self._by_weights.get(weights)
            version = self._repeat(same, arm, run) if same else self._create(arm, weights, run)
            self._by_content[content] = self._by_weights[weights] = version
        return self._by_content[content]

    def _create(self, arm: str, weights: str, run: Run) -> ModelVersion:
        """A new version for the arm of this run, or the one that another host has just created."""
        assert run.outputs is not None, "a published run has its model"
        self.changed = True
        model_id = run.outputs.model_outputs[0].model_id
        tags = {"arm": arm, CONTENT_TAG: run.data.tags[CONTENT_TAG], WEIGHTS_TAG: weights, **origin(run)}
        created = self._client.create_model_version(
            self.name,
            f"models:/{model_id}",
            run.info.run_id,
            tags=tags,
            description=first_description(arm, run),
            model_id=model_id,
        )
        # Numbers rise with each creation, so the later of two versions with these weights sees the first.
        found = self._client.search_model_versions(
            f"name = '{self.name}' and tags.`{WEIGHTS_TAG}` = '{weights}'"
        )
        version = min(found, key=lambda version: int(version.version), default=created)
        if version.version != created.version:
            self._client.delete_model_version(self.name, str(created.version))
            return self._repeat(version, arm, run)
        self._by_number[str(version.version)] = version
        index_of(self._store).register(self.name, [(int(version.version), run.info.run_id)])
        return version

    def _repeat(self, version: ModelVersion, arm: str, run: Run) -> ModelVersion:
        """The version whose weights another run has trained again, which says so."""
        content = run.data.tags[CONTENT_TAG]
        if content != version.tags.get(CONTENT_TAG) and content not in repeated(version):
            self.changed = True
            number, run_id = str(version.version), run.info.run_id
            self._tag(number, f"{REPEATED_TAG}{content}", run_id)
            self._tag(number, LATEST_TAG, run_id)
            line = f"Run {run_id} (arm {arm}) has the same weights."
            self._describe(version, with_line(version.description or "", line))
            index_of(self._store).register(self.name, [(int(number), run_id)])
            version = self._client.get_model_version(self.name, number)
            self._by_number[number] = version
        return version

    def _describe(self, version: ModelVersion, text: str) -> None:
        self._client.update_model_version(self.name, str(version.version), text)
        version.description = text

    def aliased(self, alias: str) -> ModelVersion | None:
        number = self._client.get_registered_model(self.name).aliases.get(alias)
        return self._client.get_model_version(self.name, number) if number is not None else None

    def alias(self, alias: str, version: ModelVersion) -> None:
        current = self.aliased(alias)
        if current is None or current.version != version.version:
            self.changed = True
            self._client.set_registered_model_alias(self.name, alias, version.version)

    def champion_history(self) -> list[str]:
        """Numbers of the champions that were not rolled back, in order, the present one last."""
        tag = self._client.get_registered_model(self.name).tags.get(HISTORY_TAG, "")
        numbers = [number for number in tag.split() if number in self._by_number]
        champion = self.aliased("champion")
        if champion is not None and numbers[-1:] != [str(champion.version)]:
            # A person set the alias, or a process was killed after it had set it.
            numbers.append(str(champion.version))
        return numbers

    def all_champions(self) -> list[str]:
        """Numbers of all champions, rolled back or not, in the order of the numbers."""
        by_gate = {number for number, version in self._by_number.items() if SINCE_TAG in version.tags}
        return sorted(by_gate | set(self.champion_history()), key=int)

    def promote(self, version: ModelVersion) -> None:
        """Make a version the champion."""
        history = self.champion_history()
        self.alias("champion", version)
        self._set_history([*history, str(version.version)])
        self._tag(str(version.version), SINCE_TAG, _now())

    def restore(self, target: str, history: list[str], reason: str) -> str:
        """Make a former champion the champion again; returns what was done.

        history: the present `champion_history`. If it contains the target, the champions after the target are
        withdrawn; otherwise the target, which was rolled back before, is appended.
        """
        if target in history:
            end = len(history) - history[::-1].index(target)
            withdrawn, history = history[end:], history[:end]
        else:
            withdrawn, history = [], [*history, target]
        if ROLLBACK_TAG in self._client.get_model_version(self.name, target).tags:
            self._client.delete_model_version_tag(self.name, target, ROLLBACK_TAG)
        note = f"rolled back to v{target} on {_now()}: {reason}"
        for number in set(withdrawn) - set(history):
            self._tag(number, ROLLBACK_TAG, note)
        self._tag(target, RESTORED_TAG, f"champion again on {_now()}: {reason}")
        self._set_history(history)
        # The alias is set last: the next call repeats a rollback that was interrupted before it.
        self.alias("champion", self._by_number[target])
        change = f"v{', v'.join(withdrawn)} {note}" if withdrawn else f"rolled forward: {reason}"
        return f"champion is v{target}; {change}"

    def explain(self, version: ModelVersion, reason: str) -> None:
        """Keep the gate's decision with the version."""
        if version.tags.get(REASON_TAG) != reason:
            self.changed = True
            self._tag(str(version.version), REASON_TAG, reason[:TAG_LENGTH])
            self._describe(version, with_decision(version.description or "", reason))

    def attempt(self, version: ModelVersion, against: str, compared: str) -> int:
        """The number of this attempt against a champion, kept with the version.

        A registration that is repeated, and a night that trained the same policy again, find the number
        that they had. A night without a run counts for nothing.
        """
        attempts = [
            attempt
            for other in self._by_number.values()
            for attempt in _attempts(other)
            if attempt["against"] == against
        ]
        for attempt in attempts:
            if attempt["compared"] == compared:
                return attempt["number"]
        number = 1 + max((attempt["number"] for attempt in attempts), default=0)
        made = [*_attempts(version), Attempt(against=against, number=number, compared=compared)]
        self.changed = True
        self._tag(str(version.version), ATTEMPTS_TAG, json.dumps(made))
        return number

    def measurement(self, version: ModelVersion) -> Measurement:
        """The scores that were published with the last run that has the weights of a version."""
        run_id = version.tags.get(LATEST_TAG, version.run_id)
        assert run_id is not None
        return self._store.read_measurement(self._client.get_run(run_id))

    def remeasured(self, version: ModelVersion, settings: str) -> Measurement | None:
        """The scores of a version that were measured again with these settings; None where there are none."""
        assert version.run_id is not None
        path = REMEASURED_FILE.format(settings)
        if path not in {file.path for file in self._client.list_artifacts(version.run_id, "eval")}:
            return None
        return Measurement(*json.loads(self._store.read_text(version.run_id, path)))

    def keep_remeasured(self, version: ModelVersion, settings: str, measured: Measurement) -> None:
        """Keep scores that were measured again with the run of the version."""
        assert version.run_id is not None
        self.changed = True
        self._client.log_text(version.run_id, json.dumps(measured), REMEASURED_FILE.format(settings))

    def _set_history(self, numbers: list[str]) -> None:
        self._client.set_registered_model_tag(self.name, HISTORY_TAG, " ".join(numbers))

    def _tag(self, number: str, key: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, number, key, value)


def _attempts(version: ModelVersion) -> list[Attempt]:
    attempts: list[Attempt] = json.loads(version.tags.get(ATTEMPTS_TAG, "[]"))
    return attempts


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
