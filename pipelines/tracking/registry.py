"""The model registry: one version per trained arm, `candidate` by dev accuracy, `champion` by a gate.

Benchmarks never choose the candidate. They only decide whether it replaces the champion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from hpt_core.errors import InputError
from pipelines.params import Params, load_params
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.mlflow_store import COMPLETE, SCORES, Store
from pipelines.tracking.promotion import Clause, data_clauses, decide, outdated
from pipelines.tracking.run_data import Scores

HISTORY = "champion.history"
"""Tag of the registered model: the versions that `Registry.champion_history` gives."""
SINCE, ROLLBACK, RESTORED = "champion.since", "rollback", "restored"
"""Tags of a version: when the gate made it champion; when and why it was taken back, and brought back."""


@dataclass(frozen=True)
class Registration:
    """The registry after this run."""

    versions: dict[str, str]
    """arm -> version of the registered model"""
    candidate: str | None
    """arm with the best dev accuracy"""
    promoted: bool
    """The candidate is the champion now and was not before."""
    changed: bool
    """Anything was written to the registry."""
    reason: str

    def __str__(self) -> str:
        versions = ", ".join(f"{arm} v{version}" for arm, version in self.versions.items()) or "no version"
        return f"{versions}; candidate {self.candidate or 'none'}; {self.reason}"


def register(root: Path) -> Registration:
    """Versions and aliases of the arms that are published whole. Doing it twice changes nothing."""
    params, lock = load_params(root / "params.yaml"), dvc_lock.read_lock(root)
    store, name = Store(root, params.tracking.experiment), params.tracking.registered_model
    with store.exclusive():
        registry = Registry(store, name)
        trained = run_data.trained_arms(root, lock)
        versions = {
            arm: version
            for arm in [arm for arm in params.arms if arm in trained]
            if (version := registry.version(arm, lock)) is not None
        }
        numbers = {arm: str(version.version) for arm, version in versions.items()}
        accuracy = {arm: a for arm in versions if (a := dev_accuracy(root, arm)) is not None}
        if not accuracy:
            return Registration(numbers, None, False, registry.changed, "no published arm has a dev/accuracy")
        best = max(accuracy, key=lambda arm: accuracy[arm])
        registry.alias("candidate", versions[best])
        base = run_data.read_evaluation(root, "base", lock)
        asked = [*params.promotion_benchmarks, *params.promotion.out_of_distribution]
        stale = outdated(lock, best)
        clauses = [stale] if stale else data_clauses(root, asked)
        scores = base.scores if base else None
        promoted, reason = _gate(registry, versions[best], scores, clauses, params)
    return Registration(numbers, best, promoted, registry.changed, reason)


def dev_accuracy(root: Path, arm: str) -> float | None:
    """Of the trained model: the last one measured."""
    measured = [row["dev/accuracy"] for row in run_data.read_steps(root, arm) if "dev/accuracy" in row]
    return measured[-1] if measured else None


def _gate(
    registry: Registry, candidate: ModelVersion, base: Scores | None, data: Sequence[Clause], params: Params
) -> tuple[bool, str]:
    """Whether the candidate became champion, and why; the reason is kept with the version."""
    champion = registry.aliased("champion")
    if champion is not None and champion.version == candidate.version:
        return False, "the candidate is the champion"
    if withdrawn := candidate.tags.get(ROLLBACK):
        back = f"`hpt rollback --to {candidate.version}` brings it back"
        return False, f"refused: v{candidate.version} was {withdrawn}; {back}"
    opponent = f"champion v{champion.version}" if champion else "the starting policy"
    scores = registry.scores(champion) if champion else base
    decision = decide(registry.scores(candidate), scores, opponent, data, params)
    registry.explain(candidate, decision.reason)
    if decision.promoted:
        registry.promote(candidate)
    return decision.promoted, decision.reason


def rollback(root: Path, to: str | None = None, reason: str = "") -> str:
    """Make the version that reigned before the champion, or version `to` of those that did; what was done.

    A version that is rolled back is not promoted again, until someone rolls forward to it. Doing it
    twice with the same `to` changes nothing. Raises InputError where there is no such version.
    """
    tracking = load_params(root / "params.yaml").tracking
    store = Store(root, tracking.experiment)
    with store.exclusive():
        registry = Registry(store, tracking.registered_model)
        reigned, alias = registry.champion_history(), registry.aliased("champion")
        champion = str(alias.version) if alias else None
        before = reigned[:-1] if champion else reigned
        if to is None and not before:
            now = f"v{champion} is the first champion" if champion else "there is no champion"
            raise InputError(f"{registry.name}: {now}, none reigned before; name one that did with --to")
        target = to or before[-1]
        known = registry.ever_reigned()
        if target not in known:
            told = f"{', '.join(f'v{number}' for number in known)} did" if known else "none did so far"
            raise InputError(f"{registry.name}: v{target} never was champion; {told}")
        if target == champion:
            return f"v{target} is the champion; nothing to do"
        told = registry.restore(target, reigned, reason or "no reason given")
    return told


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


class Registry:
    """The registered model of a project."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self.name, self.changed = store, name, False
        self._client: MlflowClient = store.client
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._client.search_model_versions(f"name='{name}'")
        self._versions = {version.tags.get("content"): version for version in found}
        self._numbers = {str(version.version): version for version in found}

    def version(self, arm: str, lock: Mapping[str, object]) -> ModelVersion | None:
        """The version of what the arm was made from, registered if need be; None if not published whole."""
        key = dvc_lock.locked(lock, f"train@{arm}")
        assert key is not None
        if key not in self._versions:
            run = self._store.find(content=key)
            if run is None or COMPLETE not in run.data.tags:
                return None
            assert run.outputs is not None, "a run that is published whole has its model"
            self.changed = True
            model = run.outputs.model_outputs[0].model_id
            tags = {"arm": arm, "content": key, "dvc.model": str(dvc_lock.output_hash(lock, f"models/{arm}"))}
            made = self._client.create_model_version(
                self.name, f"models:/{model}", run.info.run_id, tags=tags, model_id=model
            )
            self._versions[key] = self._numbers[str(made.version)] = made
            self._store.index().register(self.name, {int(made.version): run.info.run_id})
        return self._versions[key]

    def aliased(self, alias: str) -> ModelVersion | None:
        number = self._client.get_registered_model(self.name).aliases.get(alias)
        return self._client.get_model_version(self.name, number) if number is not None else None

    def alias(self, alias: str, version: ModelVersion) -> None:
        current = self.aliased(alias)
        if current is None or current.version != version.version:
            self.changed = True
            self._client.set_registered_model_alias(self.name, alias, version.version)

    def champion_history(self) -> list[str]:
        """Champions that nobody has rolled back, in order, the present one last."""
        tag = self._client.get_registered_model(self.name).tags.get(HISTORY, "")
        numbers = [number for number in tag.split() if number in self._numbers]
        champion = self.aliased("champion")
        if champion is not None and numbers[-1:] != [str(champion.version)]:
            numbers.append(str(champion.version))  # by hand, or by a run that was killed at this point
        return numbers

    def ever_reigned(self) -> list[str]:
        """Champions of all times, in the order of their numbers."""
        found = set(self.champion_history()) | {
            n for n, version in self._numbers.items() if SINCE in version.tags
        }
        return sorted(found, key=int)

    def promote(self, version: ModelVersion) -> None:
        reigned = self.champion_history()
        self.alias("champion", version)
        self._remember([*reigned, str(version.version)])
        self._tag(str(version.version), SINCE, _now())

    def restore(self, target: str, reigned: list[str], reason: str) -> str:
        """Champion again, with what was done in words: back in `reigned`, or forward to one rolled back.

        The alias moves last: what is cut short before it is done again by the next call.
        """
        if target in reigned:
            before = len(reigned) - reigned[::-1].index(target)
            withdrawn, reigned = reigned[before:], reigned[:before]
        else:
            withdrawn, reigned = [], [*reigned, target]
        if ROLLBACK in self._client.get_model_version(self.name, target).tags:
            self._client.delete_model_version_tag(self.name, target, ROLLBACK)
        told = f"rolled back to v{target} on {_now()}: {reason}"
        for number in set(withdrawn) - set(reigned):
            self._tag(number, ROLLBACK, told)
        self._tag(target, RESTORED, f"champion again on {_now()}: {reason}")
        self._remember(reigned)
        self.alias("champion", self._numbers[target])
        gone = f"v{', v'.join(withdrawn)} {told}" if withdrawn else f"rolled forward: {reason}"
        return f"champion is v{target}; {gone}"

    def _remember(self, reigned: list[str]) -> None:
        self._client.set_registered_model_tag(self.name, HISTORY, " ".join(reigned))

    def _tag(self, number: str, key: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, number, key, value)

    def explain(self, version: ModelVersion, reason: str) -> None:
        if version.tags.get("promotion") != reason:
            self.changed = True
            self._tag(str(version.version), "promotion", reason)

    def scores(self, version: ModelVersion) -> Scores:
        """Of every benchmark prompt, as kept with the run of this version."""
        assert version.run_id is not None
        scores: Scores = json.loads(self._store.read_text(version.run_id, SCORES))
        return scores
