"""`hpt compare`: the arms against each other, over all seeds that were published, and where MLflow shows it.

One seed of training is what stage `compare` wrote: its intervals are over prompts alone. Where MLflow has
runs of the same arms that differ in the seed alone, scores are pooled: paired by prompt and by seed, with
both as random effects (`hpt_core.pooling`), and p values corrected for their number (Holm).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.evaluation import Reals, holm
from hpt_core.pooling import pool
from pipelines.params import Params, load_params
from pipelines.report import words
from pipelines.report.results import BASE, read_json
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.mlflow_store import COMPLETE, HASH_WITHOUT_SEED, SCORES, Run, Store
from pipelines.tracking.publish import EVALUATION, UNREACHABLE
from pipelines.tracking.run_data import Scores

log = logging.getLogger(__name__)

LEVEL = 0.05
NONE = "\u2013"


@dataclass(frozen=True)
class Standings:
    seeds: tuple[int, ...]
    benchmarks: Mapping[str, Mapping[str, Any]]
    """As in metrics/compare.json: accuracy by policy, gain by arm, pairs of arms."""


def print_comparison(console: Console, root: Path, port: int) -> str | None:
    """The comparison by provenance; returns the address of MLflow's view of it, None where it is down."""
    params = load_params(root / "params.yaml")
    address, standings = None, None
    try:
        store = Store(root, params.tracking.experiment)
        address = store.view(params.curate.benchmarks, port)
        standings = pooled(root, params, store)
    except UNREACHABLE as error:
        log.warning("MLflow cannot be reached: one seed only (%s)", str(error).splitlines()[0][:200])
    if standings is None:
        comparison = read_json(root / "metrics/compare.json", "compare")
        standings = Standings((params.seed,), comparison["benchmarks"])
    mixes = {name: dict(arm.mix) for name, arm in params.arms.items()}
    for name, entry in standings.benchmarks.items():
        console.print(_accuracy(name, entry, standings.seeds, mixes), _differences(entry))
        for result in entry["pairs"] or entry["gain"].values():
            console.print(Text(result["verdict"]))
    return address


def pooled(root: Path, params: Params, store: Store) -> Standings | None:
    """Over the seeds that all arms of `params` were trained, published and evaluated with; None under two."""
    lock = dvc_lock.read_lock(root)
    arms = [arm for arm in params.arms if arm in run_data.trained_arms(root, lock)]
    runs = {arm: _by_seed(store, lock, arm) for arm in arms}
    seeds = sorted(set.intersection(*map(set, runs.values()))) if runs else []
    if len(seeds) < 2:
        return None
    scores = {arm: [_scores(store, runs[arm][seed]) for seed in seeds] for arm in arms}
    base = [_of_base(store, [runs[arm][seed] for arm in arms]) for seed in seeds]
    if all(found is not None for found in base):
        scores = {BASE: [found for found in base if found is not None]} | scores
    alike = [i for i in range(len(seeds)) if _prompts(scores, i) == _prompts(scores, len(seeds) - 1)]
    if len(alike) < len(seeds):
        log.warning("only seeds %s were evaluated on the same prompts", [seeds[i] for i in alike])
    if len(alike) < 2:
        return None
    chosen = {policy: [of_seed[i] for i in alike] for policy, of_seed in scores.items()}
    names = sorted(chosen[arms[0]][0])
    return Standings(tuple(seeds[i] for i in alike), {name: _benchmark(name, chosen) for name in names})


def _by_seed(store: Store, lock: Mapping[str, Any], arm: str) -> dict[int, Run]:
    """The last run of each seed."""
    stage = f"train@{arm}"
    found = store.tagged(
        **{HASH_WITHOUT_SEED: dvc_lock.hash_without_seed(lock, stage, lock[stage]), COMPLETE: "true"}
    )
    return {int(run.data.params["seed"]): run for run in found}


def _scores(store: Store, run: Run) -> Scores:
    scores: Scores = json.loads(store.read_text(run.info.run_id, SCORES))
    return scores


def _of_base(store: Store, runs: Sequence[Run]) -> Scores | None:
    """The starting policy's scores, kept with the flow run of one of these arms."""
    for run in runs:
        parent = store.client.get_run(run.data.tags["mlflow.parentRunId"])
        if EVALUATION in parent.data.tags:
            return _scores(store, parent)
    return None


def _prompts(scores: Mapping[str, Sequence[Scores]], seed: int) -> list[dict[str, set[str]]]:
    """policy -> benchmark -> prompts, of the seed in this place."""
    return [{name: set(of) for name, of in of_seed[seed].items()} for of_seed in scores.values()]


def _benchmark(name: str, scores: Mapping[str, Sequence[Scores]]) -> dict[str, Any]:
    prompts = sorted(next(iter(scores.values()))[0][name])
    values: dict[str, Reals] = {
        policy: np.array([[table[name][prompt] for prompt in prompts] for table in of_seed])
        for policy, of_seed in scores.items()
    }
    arms = [policy for policy in values if policy != BASE]

    def difference(a: str, b: str) -> dict[str, Any]:
        result = pool(values[a] - values[b], (-1.0, 1.0))
        return {"difference": result.mean, "ci95": list(result.ci95), "p": result.p}

    gain = {arm: difference(arm, BASE) for arm in arms} if BASE in values else {}
    pairs = [{"a": a, "b": b, **difference(a, b)} for a, b in combinations(arms, 2)]
    for family in (list(gain.values()), pairs):
        for entry, p in zip(family, holm([entry["p"] for entry in family]), strict=True):
            entry |= {"p_holm": p, "detected": p < LEVEL and not entry["ci95"][0] <= 0 <= entry["ci95"][1]}
    for arm, entry in gain.items():
        entry["verdict"] = words.gain_verdict(name, arm, BASE, entry)
    for pair in pairs:
        pair["verdict"] = words.pair_verdict(name, pair["a"], pair["b"], pair)
    whole = {policy: pool(table, (0.0, 1.0)) for policy, table in values.items()}
    accuracy = {
        policy: {"avg_at_k": result.mean, "ci95": list(result.ci95), "n_prompts": len(prompts)}
        for policy, result in whole.items()
    }
    return {"accuracy": accuracy, "gain": gain, "pairs": pairs}


def _accuracy(
    name: str, entry: Mapping[str, Any], seeds: Sequence[int], mixes: Mapping[str, Mapping[str, float]]
) -> Table:
    first = next(iter(entry["accuracy"].values()))
    over = f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    table = _table(f"{name}: {first['n_prompts']} prompts, {over}")
    table.add_column("provenance", no_wrap=True)
    table.add_column("mix", overflow="fold")
    for heading in ("accuracy", "95% interval", "gain", "95% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for policy, one in entry["accuracy"].items():
        mix = ", ".join(f"{kind} {share:g}" for kind, share in mixes.get(policy, {}).items()) or NONE
        found = [words.percent(one["avg_at_k"]), words.interval(one["ci95"])]
        table.add_row(Text(policy), Text(mix), *found, *_difference(entry["gain"].get(policy)))
    return table


def _differences(entry: Mapping[str, Any]) -> Table:
    table = _table(None)
    table.add_column("difference", overflow="fold")
    for heading in ("points", "95% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in entry["pairs"]:
        table.add_row(Text(f"{pair['a']} \u2212 {pair['b']}"), *_difference(pair))
    return table


def _difference(result: Mapping[str, Any] | None) -> list[str]:
    """Points, interval and corrected p; a star where a difference was detected."""
    if result is None:
        return [NONE, NONE, NONE]
    star = "*" if result["detected"] else " "
    p = words.p_value(result["p_holm"]).removeprefix("p = ").removeprefix("p ")
    return [words.signed(result["difference"]) + star, words.interval(result["ci95"]), p]


def _table(title: str | None) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
