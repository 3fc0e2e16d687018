"""`hpt compare`: the arms against each other over all published seeds, and the view of them in MLflow.

For a single seed of training, the comparison is the one that stage `compare` wrote; its intervals are over
prompts alone. Where MLflow has runs of the same arms that differ in the seed alone, scores are pooled: they
are paired by prompt and by seed, with both as random effects (`hpt_core.pooling`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from hpt_core.evaluation import PairedDifference, Reals
from hpt_core.pooling import pool, pooled_difference
from pipelines import paths
from pipelines.params import Params, load_params
from pipelines.report.comparison_file import Accuracy, read_comparison
from pipelines.report.comparisons import compare_policies, results
from pipelines.report.results import BASE
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.comparison.table import BenchmarkTables, PooledComparison, comparison_tables
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Measurement, Scores, measured_otherwise
from pipelines.tracking.mlflow_errors import TrackingError, tracking_errors
from pipelines.tracking.mlflow_store import Run, Store
from pipelines.tracking.run_layout import (
    COMPLETE_TAG,
    EVALUATION_TAG,
    HASH_WITHOUT_SEED_TAG,
    PARENT_TAG,
)

log = logging.getLogger(__name__)

SHARED_VIEW_TAG = "mlflow.sharedViewState"
"""Tag of an experiment, before the key of a view that is saved with it."""


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
    address, comparison = None, None
    try:
        with tracking_errors(root):
            store = Store(root, params.tracking.experiment)
            address = provenance_view(store, params.curate.benchmarks, port)
            comparison = pooled_comparison(root, params, store)
    except TrackingError as error:
        log.warning("MLflow cannot be reached: one seed only (%s)", error.reason[:200])
    if comparison is None:
        comparison = SeedComparison((params.seed,), read_comparison(root)["benchmarks"])
    mixes = {name: dict(arm.mix) for name, arm in params.arms.items()}
    for benchmark, entry in comparison.benchmarks.items():
        console.print(*comparison_tables(benchmark, entry, comparison.seeds, mixes))
        for result in results(entry):
            console.print(Text(result["verdict"]))
    return address


def provenance_view(store: Store, benchmarks: Iterable[str], port: int) -> str:
    """Save a view that groups the runs by provenance with the experiment; returns the address of its page."""
    columns = [f"metrics.`eval/{name}/avg_at_k`" for name in benchmarks]
    state = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "provenance"}],
        },
        "selectedColumns": ["attributes.`Dataset`", *columns, "params.`seed`"],
    }
    # The page's Share button saves views in the same form.
    store.client.set_experiment_tag(store.experiment, f"{SHARED_VIEW_TAG}.provenance", json.dumps(state))
    server = store.uri.rstrip("/") if store.uri.startswith("http") else f"http://127.0.0.1:{port}"
    query = "workflowType=machine_learning&viewStateShareKey=provenance"
    return f"{server}/#/experiments/{store.experiment}/runs?{query}"


def pooled_comparison(root: Path, params: Params, store: Store) -> SeedComparison | None:
    """The comparison over the seeds with which all arms of `params` are published; None for under two."""
    lock = dvc_lock.read_lock(root)
    trained = run_data.trained_arms(root, lock)
    arms = [arm for arm in params.arms if arm in trained]
    runs = {arm: _runs_by_seed(store, lock, arm) for arm in arms}
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


def _runs_by_seed(store: Store, lock: Lock, arm: str) -> dict[int, Run]:
    """Seed -> the last complete run of the arm with it."""
    stage = f"train@{arm}"
    key = dvc_lock.hash_without_seed(lock, stage, lock[stage])
    runs = store.tagged({HASH_WITHOUT_SEED_TAG: key, COMPLETE_TAG: "true"})
    return {int(run.data.params["seed"]): run for run in runs}


def _measurements(
    store: Store, runs: Mapping[str, Mapping[int, Run]], seeds: Sequence[int]
) -> dict[str, list[Measurement]]:
    """Policy -> its scores, seed by seed.

    The base policy is left out where a seed has no evaluation of it, or one that was measured otherwise.
    """
    of_arms = {
        arm: [store.read_measurement(by_seed[seed]) for seed in seeds] for arm, by_seed in runs.items()
    }
    of_base = []
    for i, seed in enumerate(seeds):
        base = _base_measurement(store, [by_seed[seed] for by_seed in runs.values()])
        arms = [measured[i] for measured in of_arms.values()]
        if base is None or any(measured_otherwise(base, arm, base.scores) for arm in arms):
            log.warning(
                "seed %d: no evaluation of the starting policy that was measured as the arms were", seed
            )
            return of_arms
        of_base.append(base)
    return {BASE: of_base} | of_arms


def _base_measurement(store: Store, runs: Sequence[Run]) -> Measurement | None:
    """The scores of the base policy, from the parent run of one of these arms."""
    for run in runs:
        parent = store.client.get_run(run.data.tags[PARENT_TAG])
        if EVALUATION_TAG in parent.data.tags:
            return store.read_measurement(parent)
    return None


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
