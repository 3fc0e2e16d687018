"""Registers trained arms: a version for each, `candidate` by dev accuracy, `champion` by the promotion gate.

Benchmarks never choose the candidate. They only decide whether it replaces the champion.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from hpt_core.errors import InputError
from hpt_core.files import read_steps
from hpt_core.fingerprint import json_hash
from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.results import BASE
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Measurement, measured_otherwise, read_evaluation
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.registry.promotion import Clause, data_clauses, decide, outdated
from pipelines.tracking.registry.registered_model import (
    ROLLBACK_TAG,
    STARTING_POLICY,
    WEIGHTS_TAG,
    RegisteredModel,
)
from pipelines.tracking.registry.remeasure import remeasure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registration:
    """The registered model after a registration."""

    versions: dict[str, str]
    """arm -> version"""
    candidate: str | None
    """The arm of highest dev accuracy."""
    promoted: bool
    """This registration made the candidate the champion."""
    changed: bool
    """Anything was written to the registry."""
    reason: str
    """Why the candidate is or is not the champion."""
    final: bool = True
    """Whether another registration of the same would say the same; not where a measurement was impossible."""

    def __str__(self) -> str:
        versions = ", ".join(f"{arm} v{version}" for arm, version in self.versions.items()) or "no version"
        return f"{versions}; candidate {self.candidate or 'none'}; {self.reason}"


def register(root: Path) -> Registration:
    """Register the published arms and set the aliases. A second call changes nothing.

    Raises TrackingError where MLflow fails, InputError where a file that the gate reads is missing.
    """
    params, lock = load_params(root / paths.PARAMS), dvc_lock.read_lock(root)
    again: dict[str, Measurement | InputError] = {}
    with tracking_errors(root):
        store = Store(root, params.tracking.experiment)
        while True:
            try:
                with store.exclusive():
                    model = RegisteredModel(store, params.tracking.registered_model)
                    return _register(model, root, params, lock, again)
            except NotMeasured as missing:
                # An evaluation takes minutes, in which others may publish.
                again[missing.key] = _measure(root, missing.champion)


class NotMeasured(Exception):
    """The gate needs scores of the champion with the candidate's settings."""

    def __init__(self, champion: ModelVersion, key: str) -> None:
        super().__init__(key)
        self.champion, self.key = champion, key


def _measure(root: Path, champion: ModelVersion) -> Measurement | InputError:
    try:
        return remeasure(root, str(champion.version), champion.tags.get(WEIGHTS_TAG, "none recorded"))
    except InputError as error:
        return error


def _register(
    model: RegisteredModel,
    root: Path,
    params: Params,
    lock: Lock,
    again: Mapping[str, Measurement | InputError],
) -> Registration:
    """again: measurements of champions that were repeated for this registration."""
    trained = run_data.trained_arms(root, lock)
    versions = {
        arm: version
        for arm in params.arms
        if arm in trained and (version := model.version(arm, lock)) is not None
    }
    numbers = {arm: str(version.version) for arm, version in versions.items()}
    best = _best_on_dev(root, versions)
    if best is None:
        return Registration(numbers, None, False, model.changed, "no published arm has a dev/accuracy")
    model.alias("candidate", versions[best])
    evaluation = read_evaluation(root, BASE, lock)
    base = evaluation.measurement if evaluation else None
    stale = outdated(lock, best)
    clauses = [stale] if stale else data_clauses(root, params.gated_benchmarks)
    try:
        promoted, reason = _gate(model, versions[best], base, clauses, params, again)
    except InputError as error:
        reason = f"refused: {error}"
        model.explain(versions[best], reason)
        return Registration(numbers, best, False, model.changed, reason, final=False)
    return Registration(numbers, best, promoted, model.changed, reason)


def _best_on_dev(root: Path, versions: Mapping[str, ModelVersion]) -> str | None:
    """The arm whose last dev accuracy is highest, the first of several; None where none was measured."""
    accuracy = {}
    for arm in versions:
        steps = read_steps(root / paths.training_metrics(arm))
        measured = [step["dev/accuracy"] for step in steps if "dev/accuracy" in step]
        if measured:
            accuracy[arm] = measured[-1]
    return max(accuracy, key=lambda arm: accuracy[arm], default=None)


def _gate(
    model: RegisteredModel,
    candidate: ModelVersion,
    base: Measurement | None,
    data: Sequence[Clause],
    params: Params,
    again: Mapping[str, Measurement | InputError],
) -> tuple[bool, str]:
    """Whether the candidate became champion, and why; the version keeps the reason.

    Raises InputError where the candidate and the policy before it cannot be compared.
    """
    champion = model.aliased("champion")
    if champion is not None and champion.version == candidate.version:
        return False, "the candidate is the champion"
    if note := candidate.tags.get(ROLLBACK_TAG):
        remedy = f"`hpt rollback --to {candidate.version}` brings it back"
        return False, f"refused: v{candidate.version} was {note}; {remedy}"
    name = f"champion v{champion.version}" if champion else "the starting policy"
    against = str(champion.version) if champion else STARTING_POLICY
    measured, opponent = model.measurement(candidate), base
    if champion is not None:
        opponent = _measured_alike(model, champion, measured, params, again)
    elif base is not None and (names := measured_otherwise(measured, base, params.gated_benchmarks)):
        raise InputError(f"{name} was measured otherwise ({', '.join(names)}); run `hpt run` to the end")
    scores = opponent.scores if opponent else None
    attempt = model.attempt(candidate, against, json_hash([measured.scores, scores]))
    arms = candidate.tags["arm"], champion.tags.get("arm", "champion") if champion else BASE
    decision = decide(measured.scores, scores, name, data, params, attempt, arms)
    model.explain(candidate, decision.reason)
    if decision.promoted:
        model.promote(candidate)
    return decision.promoted, decision.reason


def _measured_alike(
    model: RegisteredModel,
    champion: ModelVersion,
    candidate: Measurement,
    params: Params,
    again: Mapping[str, Measurement | InputError],
) -> Measurement:
    """The champion's scores, measured as the candidate's were.

    Raises NotMeasured where it has to be evaluated again, InputError where it cannot be.
    """
    published, benchmarks = model.measurement(champion), params.gated_benchmarks
    names = measured_otherwise(candidate, published, benchmarks)
    if not names:
        return published
    settings = json_hash(candidate.settings)
    if (known := model.remeasured(champion, settings)) is not None:
        return known
    key = f"v{champion.version} {settings}"
    if key not in again:
        log.info("champion v%s is evaluated again: it was measured otherwise (%s)", champion.version, names)
        raise NotMeasured(champion, key)
    difference, repeated = (
        f"champion v{champion.version} was measured otherwise ({', '.join(names)})",
        again[key],
    )
    if isinstance(repeated, InputError):
        remedy = "set the alias `champion` by hand once you have compared them"
        raise InputError(f"{difference} and cannot be evaluated again: {repeated}; {remedy}") from repeated
    if names := measured_otherwise(candidate, repeated, benchmarks):
        changed = (
            f"params.yaml or the verifier changed since the candidate was evaluated ({', '.join(names)})"
        )
        raise InputError(f"{difference}, and {changed}; run `hpt run` to the end")
    model.keep_remeasured(champion, settings, repeated)
    return repeated


def rollback(root: Path, to: str | None = None, reason: str = "") -> str:
    """Make the previous champion, or the former champion `to`, the champion again; returns what was done.

    The gate does not promote a version that was rolled back, until someone rolls forward to it. A second call
    with the same `to` changes nothing. Raises InputError where there is no such version, TrackingError where
    MLflow fails.
    """
    tracking = load_params(root / paths.PARAMS).tracking
    with tracking_errors(root):
        store = Store(root, tracking.experiment)
        with store.exclusive():
            return _rollback(RegisteredModel(store, tracking.registered_model), to, reason)


def _rollback(model: RegisteredModel, to: str | None, reason: str) -> str:
    history, alias = model.champion_history(), model.aliased("champion")
    champion = str(alias.version) if alias else None
    earlier = history[:-1] if champion else history
    if to is None and not earlier:
        state = f"v{champion} is the first champion" if champion else "there is no champion"
        raise InputError(f"{model.name}: {state}, so there is no earlier one; name a version with --to")
    target = to or earlier[-1]
    champions = model.all_champions()
    if target not in champions:
        listed = ", ".join(f"v{number}" for number in champions) or "none"
        raise InputError(f"{model.name}: v{target} was never champion; champions so far: {listed}")
    if target == champion:
        return f"v{target} is the champion; nothing to do"
    return model.restore(target, history, reason or "no reason given")
