"""Stage `compare`: did the arms differ? -> metrics/compare.json, reports/provenance.html."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.evaluation import Reals, correct_matrix, holm, paired_difference
from hpt_core.gate import IMITATED
from hpt_core.seeds import derive
from pipelines.params import Params
from pipelines.report import page, words
from pipelines.report.results import BASE, PROMPTS, Results, Row, metrics_file, read_results, responses_file
from pipelines.stage.launch import launch

log = logging.getLogger(__name__)

LEVEL = 0.05
"""A difference counts as detected where its corrected p is below, and its interval is clear of 0."""


def run(params: Params, root: Path = Path(".")) -> Mapping[str, Any]:
    """Compare the base policy and the arms of `params` from their files under `root`.

    Returns the comparison, as in metrics/compare.json, and the path of the page.

    Raises InputError that names the files where one is missing or two speak of different prompts.
    """
    results = read_results(list(params.arms), root)
    comparison = compare(results, params.seed, params.evaluate.bootstrap, root)
    path = root / "reports/provenance.html"
    tables.write_json(root / "metrics/compare.json", comparison)
    mixes = {name: dict(arm.mix) for name, arm in params.arms.items()}
    page.write(path, results, comparison, mixes, params.seed)
    for verdict in comparison["verdicts"]:
        log.info("%s", verdict)
    return {"comparison": comparison, "page": path}


def compare(results: Results, seed: int, draws: int, root: Path) -> dict[str, Any]:
    """The content of metrics/compare.json."""
    benchmarks = {name: _benchmark(results, name, seed, draws, root) for name in results.benchmarks}
    verdicts = [sentence for entry in benchmarks.values() for sentence in _sentences(entry)]
    return {
        "arms": list(results.arms),
        "benchmarks": benchmarks,
        "training": {
            arm: training(results.training[arm], results.gates[arm], results.sources[arm])
            for arm in results.arms
        },
        "verdicts": verdicts,
    }


def training(steps: Sequence[Row], gate: Sequence[Row], sources: Mapping[str, Row]) -> dict[str, Any]:
    """What an arm's training amounted to: its log and its gate decisions in total, and source by source."""
    shares = [row["offline_share"] for row in steps if row.get("offline_share") is not None]
    demonstrations = Counter(row["kind"] for row in gate if row["route"] in IMITATED)
    return {
        "steps": len(steps),
        "offline_share": math.fsum(shares) / len(shares) if shares else 0.0,
        "tokens_generated": steps[-1]["tokens/generated"],
        "tokens_trained": steps[-1]["tokens/trained"],
        "demonstrations": dict(sorted(demonstrations.items())),
        "routes": dict(sorted(Counter(row["route"] for row in gate).items())),
        "revisited": _revisited(gate),
        "sources": dict(sources),
        "skipped": sum(row.get("skipped") or 0 for row in steps),
    }


def _revisited(gate: Sequence[Row]) -> dict[str, dict[str, int]]:
    """First route -> last route -> prompts, of the prompts that came up more than once."""
    routes: dict[str, list[str]] = {}
    for row in gate:
        routes.setdefault(row["prompt_id"], []).append(row["route"])
    ends: dict[str, Counter[str]] = {}
    for its in routes.values():
        if len(its) > 1:
            ends.setdefault(its[0], Counter())[its[-1]] += 1
    return {first: dict(sorted(ends[first].items())) for first in sorted(ends)}


def _benchmark(results: Results, name: str, seed: int, draws: int, root: Path) -> dict[str, Any]:
    scores = _scores(results, name, root)
    accuracy = {policy: results.metrics[policy][name] for policy in results.policies}

    def difference(a: str, b: str) -> dict[str, Any]:
        result = paired_difference(scores[a], scores[b], derive(seed, "compare", name, a, b), draws)
        return {"difference": result.difference, "ci95": list(result.ci95), "p": result.p}

    gain = {arm: difference(arm, BASE) for arm in results.arms}
    pairs = [{"a": a, "b": b, **difference(a, b)} for a, b in combinations(results.arms, 2)]
    _correct(list(gain.values()))
    _correct(pairs)
    for arm, entry in gain.items():
        entry["verdict"] = words.gain_verdict(name, arm, BASE, entry)
    for pair in pairs:
        pair["verdict"] = words.pair_verdict(name, pair["a"], pair["b"], pair)
    return {
        "accuracy": accuracy,
        "gain": gain,
        "pairs": pairs,
        "sources": _by_source(results, name),
        "headline": words.headline(name, accuracy, _rivals(accuracy, gain, pairs)),
    }


def _scores(results: Results, benchmark: str, root: Path) -> dict[str, Reals]:
    """policy -> score of each prompt [P], the same prompts in the same order for all."""
    prompts: dict[str, list[str]] = {}
    scores: dict[str, Reals] = {}
    for policy in results.policies:
        path = root / responses_file(policy)
        try:
            prompts[policy], correct = correct_matrix(results.responses[policy][benchmark])
        except ValueError as error:
            raise InputError(f"{path}, benchmark {benchmark}: {error}") from error
        scores[policy] = correct.mean(1)
        if prompts[policy] != prompts[BASE]:
            odd = sorted(set(prompts[policy]) ^ set(prompts[BASE]))
            raise InputError(
                f"{root / responses_file(BASE)} and {path}: different prompts on {benchmark} "
                f"({len(odd)} in one only, such as {odd[0]}), so their scores cannot be paired; "
                f"run `dvc repro` to evaluate both on the same prompts"
            )
        stated = results.metrics[policy][benchmark]["avg_at_k"]
        if not math.isclose(stated, float(scores[policy].mean()), abs_tol=1e-9):
            raise InputError(
                f"{path} gives an accuracy of {scores[policy].mean():.6f} on {benchmark}, "
                f"{root / metrics_file(policy)} says {stated:.6f}; run `dvc repro` to evaluate anew"
            )
    known = results.prompts.get(benchmark, {})
    for prompt in prompts[BASE]:
        if prompt not in known:
            raise InputError(
                f"{root / responses_file(BASE)}: prompt {prompt} of {benchmark} is not in {root / PROMPTS}: "
                f"they are of different runs; run `dvc repro` to evaluate anew"
            )
    return scores


def _correct(family: Sequence[dict[str, Any]]) -> None:
    """Add p_holm and detected to the comparisons of one family."""
    for entry, p in zip(family, holm([entry["p"] for entry in family]), strict=True):
        low, high = entry["ci95"]
        entry["p_holm"] = p
        entry["detected"] = p < LEVEL and not low <= 0 <= high


def _rivals(
    accuracy: Mapping[str, Row], gain: Mapping[str, Row], pairs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Policies that are not detectably below the one of highest accuracy."""
    best = max(accuracy, key=lambda policy: accuracy[policy]["avg_at_k"])
    detected = {frozenset((arm, BASE)): entry["detected"] for arm, entry in gain.items()}
    detected |= {frozenset((pair["a"], pair["b"])): pair["detected"] for pair in pairs}
    return [policy for policy in accuracy if policy != best and not detected[frozenset((policy, best))]]


def _by_source(results: Results, benchmark: str) -> dict[str, Any]:
    """source -> number of its prompts and each policy's accuracy on them."""
    sources: dict[str, dict[str, Any]] = {}
    for policy in results.policies:
        groups: dict[str, list[Row]] = {}
        for row in results.responses[policy][benchmark]:
            groups.setdefault(row["source"], []).append(row)
        for source, rows in groups.items():
            entry = sources.setdefault(source, {"n_prompts": 0, "accuracy": {}})
            entry["n_prompts"] = len({row["prompt_id"] for row in rows})
            entry["accuracy"][policy] = float(np.mean([row["correct"] for row in rows]))
    return sources


def _sentences(entry: Mapping[str, Any]) -> list[str]:
    found = [*entry["gain"].values(), *entry["pairs"]]
    return [entry["headline"], *(result["verdict"] for result in found)]


def main() -> None:
    """Entry point of `python -m pipelines.compare`."""
    launch("compare", run)


if __name__ == "__main__":
    main()
