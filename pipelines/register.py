"""The model registry: one version per trained arm, `candidate` by dev accuracy, `champion` by a gate.

Benchmarks never choose the candidate. They only decide whether it replaces the champion.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from hpt_core.evaluation import paired_difference
from hpt_core.seeds import derive
from pipelines import content, records
from pipelines.params import Params, load_params
from pipelines.records import Scores
from pipelines.store import Store
from pipelines.tracking import COMPLETE, SCORES

logger = logging.getLogger(__name__)


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
    params, lock = load_params(root / "params.yaml"), content.read_lock(root)
    store, name = Store(root, params.tracking.experiment), params.tracking.registered_model
    with store.exclusive():
        registry = Registry(store, name)
        trained = records.trained_arms(root, lock)
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
        base = records.read_evaluation(root, "base", lock)
        promoted, reason = _gate(registry, versions[best], base.scores if base else None, params)
    return Registration(numbers, best, promoted, registry.changed, reason)


def dev_accuracy(root: Path, arm: str) -> float | None:
    """Of the trained model: the last one measured."""
    measured = [row["dev/accuracy"] for row in records.read_steps(root, arm) if "dev/accuracy" in row]
    return measured[-1] if measured else None


def _gate(
    registry: Registry, candidate: ModelVersion, base: Scores | None, params: Params
) -> tuple[bool, str]:
    """Whether the candidate became champion, and why; the reason is kept with the version."""
    champion = registry.aliased("champion")
    if champion is not None and champion.version == candidate.version:
        return False, "the candidate is the champion"
    opponent = f"champion v{champion.version}" if champion else "the starting policy"
    scores = registry.scores(champion) if champion else base
    passed, reason = better(registry.scores(candidate), scores, opponent, params)
    if passed:
        registry.alias("champion", candidate)
    registry.explain(candidate, f"{'promoted' if passed else 'refused'}: {reason}")
    return passed, f"{'promoted' if passed else 'not promoted'}: {reason}"


def better(ours: Scores, theirs: Scores | None, opponent: str, params: Params) -> tuple[bool, str]:
    """Better on every benchmark, the 95% interval of the paired difference above 0."""
    if theirs is None:
        return False, f"{opponent} has no evaluation"
    if {b: set(s) for b, s in ours.items()} != {b: set(s) for b, s in theirs.items()}:
        return False, f"{opponent} was evaluated on other benchmark prompts; set the alias by hand"
    passed, parts = True, []
    for benchmark, scores in ours.items():
        prompts = sorted(scores)
        difference = paired_difference(
            np.array([scores[p] for p in prompts]),
            np.array([theirs[benchmark][p] for p in prompts]),
            derive(params.seed, "gate", benchmark),
            params.evaluate.bootstrap,
        )
        low, high = difference.ci95
        passed &= low > 0
        parts.append(f"{benchmark} {difference.difference:+.3f} [{low:+.3f}, {high:+.3f}]")
    return passed, f"against {opponent}, {', '.join(parts)}"


class Registry:
    """The registered model of a project."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name, self.changed = store, name, False
        self._client: MlflowClient = store.client
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._client.search_model_versions(f"name='{name}'")
        self._versions = {version.tags.get("content"): version for version in found}

    def version(self, arm: str, lock: Mapping[str, object]) -> ModelVersion | None:
        """The version of what the arm was made from, registered if need be; None if not published whole."""
        key = content.locked(lock, f"train@{arm}")
        assert key is not None
        if key not in self._versions:
            run = self._store.find(content=key)
            if run is None or COMPLETE not in run.data.tags:
                return None
            assert run.outputs is not None, "a run that is published whole has its model"
            self.changed = True
            model = run.outputs.model_outputs[0].model_id
            tags = {"arm": arm, "content": key, "dvc.model": str(content.output_hash(lock, f"models/{arm}"))}
            self._versions[key] = self._client.create_model_version(
                self._name, f"models:/{model}", run.info.run_id, tags=tags, model_id=model
            )
        return self._versions[key]

    def aliased(self, alias: str) -> ModelVersion | None:
        number = self._client.get_registered_model(self._name).aliases.get(alias)
        return self._client.get_model_version(self._name, number) if number is not None else None

    def alias(self, alias: str, version: ModelVersion) -> None:
        current = self.aliased(alias)
        if current is None or current.version != version.version:
            self.changed = True
            self._client.set_registered_model_alias(self._name, alias, version.version)

    def explain(self, version: ModelVersion, reason: str) -> None:
        if version.tags.get("promotion") != reason:
            self.changed = True
            self._client.set_model_version_tag(self._name, version.version, "promotion", reason)

    def scores(self, version: ModelVersion) -> Scores:
        """Of every benchmark prompt, as kept with the run of this version."""
        assert version.run_id is not None
        with tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(version.run_id, SCORES, folder)
            scores: Scores = json.loads(Path(path).read_text(encoding="utf-8"))
        return scores
