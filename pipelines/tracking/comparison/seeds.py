"""`hpt compare`: the arms against each other over all published seeds, and the view of them in MLflow.

For a single seed of training, the comparison is the one that stage `compare` wrote; its intervals are over
prompts alone. Where MLflow has runs of the same arms that differ in the seed alone, scores are pooled: they
are paired by prompt and by seed, with both as random effects (`hpt_core.pooling`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from hpt_core.errors import InputError
from hpt_core.pooling import pool, pooled_difference
from hpt_core.significance import PairedDifference, Reals
from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.comparison_file import Accuracy, read_comparison
from pipelines.report.comparisons import compare_policies, results
from pipelines.report.results import BASE
from pipelines.report.summary import notes
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.comparison.table import BenchmarkTables, PooledComparison, comparison_tables
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Measurement, Scores, measured_otherwise
from pipelines.tracking.lineage.synchronisation import index_of
from pipelines.tracking.mlflow_errors import TrackingError, tracking_errors
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.pages.screens import address, comparison_path, save_views
from pipelines.tracking.run_layout import (
    BASE_TAG,
    COMPLETE_TAG,
    EVALUATION_TAG,
    HASH_WITHOUT_SEED_TAG,
    PARENT_TAG,
    SETTINGS_TAG,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedComparison:
    """The comparison of the arms over some seeds."""

    seeds: tuple[int, ...]
    benchmarks: Mapping[str, BenchmarkTables]


def print_comparison(console: Console, root: Path, port: int) -> str | None:
    """Print the comparison; returns the address of MLflow's view of it, None where MLflow fails.

    port: the port of `hpt ui`, for a project without a tracking server.
    """
    params = load_params(root / paths.PARAMS)
    page, comparison = None, None
    try:
        with tracking_errors(root):
            store = Store(root, params.tracking.experiment)
            save_views(store, list(params.curate.benchmarks))
            page = address(store, comparison_path(store), port)
            comparison = pooled_comparison(root, params, store)
    except TrackingError as error:
        log.warning("one seed only: %s", error)
    if comparison is None:
        comparison = SeedComparison((params.seed,), read_comparison(root)["benchmarks"])
    mixes = {name: dict(arm.mix) for name, arm in params.arms.items()}
    for benchmark, entry in comparison.benchmarks.items():
        console.print(*comparison_tables(benchmark, entry, comparison.seeds, mixes))
        for result in results(entry):
            console.print(Text(result["verdict"]))
    if (root / paths.COMPARISON).is_file():
        for note in notes(read_comparison(root)):
            console.print(Text(note))
    return page


def pooled_comparison(root: Path, params: Params, store: Store) -> SeedComparison | None:
    """The comparison over the seeds with which all arms of `params` are published; None for under two."""
    lock = dvc_lock.read_lock(root)
    trained = run_data.trained_arms(root, lock)
    arms = [arm for arm in params.arms if arm in trained]
    runs = {arm: runs_by_seed(store, lock, arm) for arm in arms}
    seeds = sorted(set.intersection(*map(set, runs.values()))) if runs else []
    if len(seeds) < 2:
        return None
    measured = _measurements(store, runs, seeds)
    last = measured[arms[0]][-1]
    alike = [i for i in range(len(seeds)) if all(_alike(of[i], last) for of in measured.values())]
    if len(alike) < len(seeds):
        log.warning("only seeds %s were evaluated on the same prompts, alike", [seeds[i] for i in alike])
    if len(alike) < 2:
        return None
    chosen = {policy: [by_seed[i].scores for i in alike] for policy, by_seed in measured.items()}
    benchmarks = sorted(chosen[arms[0]][0])
    return SeedComparison(
        tuple(seeds[i] for i in alike), {name: _differences(name, chosen) for name in benchmarks}
    )


def runs_by_seed(store: Store, lock: Lock, arm: str) -> dict[int, Run]:
    """Seed -> the last complete run of the arm with it."""
    stage = f"train@{arm}"
    key = dvc_lock.hash_without_seed(lock, stage, lock[stage])
    runs = store.tagged({HASH_WITHOUT_SEED_TAG: key, COMPLETE_TAG: "true"})
    return {int(run.data.params["seed"]): run for run in runs}


def _measurements(
    store: Store, runs: Mapping[str, Mapping[int, Run]], seeds: Sequence[int]
) -> dict[str, list[Measurement]]:
    """Policy -> its scores, seed by seed.

    Raises InputError where a seed has no evaluation of the base policy, or one that was measured otherwise.
    """
    of_arms = {
        arm: [store.read_measurement(by_seed[seed]) for seed in seeds] for arm, by_seed in runs.items()
    }
    of_base = []
    for i, seed in enumerate(seeds):
        arms = [measured[i] for measured in of_arms.values()]
        of_base.append(_base_measurement(store, [by_seed[seed] for by_seed in runs.values()], arms, seed))
    return {BASE: of_base} | of_arms


def _base_measurement(
    store: Store, runs: Sequence[Run], arms: Sequence[Measurement], seed: int
) -> Measurement:
    """The scores of the base policy of these arms, wherever they are, measured as most of the arms were.

    An arm that was measured otherwise than the others leaves its seed out, so it decides nothing here.
    """
    found, unlike = None, []
    for measured in map(store.read_measurement, _base_runs(store, runs)):
        differing = _unlike(measured, arms)
        # Of several that agree with as many arms, the first, which is the newest.
        if found is None or len(differing) < len(unlike):
            found, unlike = measured, differing
        if not unlike:
            break  # The runs before it are as many as there were nights.
    remedy = f"set `seed: {seed}` in params.yaml and `hpt run`, or delete its runs in MLflow"
    if found is None:
        raise InputError(f"seed {seed}: no evaluation of its starting policy is published; {remedy}")
    if len(unlike) == len(arms):
        difference = f"its starting policy was measured otherwise than its arms ({', '.join(unlike[0])})"
        raise InputError(f"seed {seed}: {difference}; {remedy}")
    return found


def _unlike(base: Measurement, arms: Sequence[Measurement]) -> list[list[str]]:
    """For each arm that was measured otherwise than the base policy: what differs."""
    return [names for arm in arms if (names := measured_otherwise(base, arm, base.scores))]


def _base_runs(store: Store, arms: Sequence[Run]) -> Iterator[Run]:
    """Runs with an evaluation of the policy that these arms started from, the newest of each evaluation."""
    seen = set()
    for weights in {_base_weights(store, run) for run in arms} - {None}:
        for run in store.newest_first({"provenance": BASE, BASE_TAG: str(weights)}):
            evaluation = run.data.tags.get(EVALUATION_TAG), run.data.tags.get(SETTINGS_TAG)
            if evaluation[0] is not None and evaluation not in seen:
                seen.add(evaluation)
                yield run
    for run in arms:  # Older releases kept the evaluation with the parent run.
        parent = store.find(run.data.tags.get(PARENT_TAG, ""))
        if parent is not None and SETTINGS_TAG in parent.data.tags:
            yield parent


def _base_weights(store: Store, arm: Run) -> str | None:
    """The DVC hash of the policy that an arm started from."""
    if tag := arm.data.tags.get(BASE_TAG):
        return tag
    lineage = index_of(store).lineage(arm.info.run_id)
    return lineage.dvc.get(str(paths.BASE_MODEL)) if lineage else None


def _alike(a: Measurement, b: Measurement) -> bool:
    """Whether two policies were evaluated on the same prompts and with the same settings."""
    return a.settings == b.settings and all(
        a.scores.get(name, {}).keys() == b.scores.get(name, {}).keys() for name in a.scores | b.scores
    )


def _differences(benchmark: str, scores: Mapping[str, Sequence[Scores]]) -> PooledComparison:
    prompts = sorted(next(iter(scores.values()))[0][benchmark])
    values: dict[str, Reals] = {
        policy: np.array([[table[benchmark][prompt] for prompt in prompts] for table in by_seed])
        for policy, by_seed in scores.items()
    }

    def difference(a: str, b: str) -> PairedDifference:
        return pooled_difference(values[a], values[b])

    gain, pairs = compare_policies(benchmark, values, difference)
    accuracy: dict[str, Accuracy] = {}
    for policy, table in values.items():
        mean = pool(table, (0.0, 1.0))
        accuracy[policy] = {"avg_at_k": mean.mean, "ci95": list(mean.ci95), "n_prompts": len(prompts)}
    return {"accuracy": accuracy, "gain": gain, "pairs": pairs}
