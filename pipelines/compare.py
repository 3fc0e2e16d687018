"""Stage `compare`: did the arms differ? -> metrics/compare.json, reports/provenance.html, reports/plots."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    # At run time it would import the curation, on which this stage does not depend.
    from hpt_core.data.curation.report import ReportFile
from hpt_core.errors import InputError
from hpt_core.evaluation import correct_matrix, differing_settings
from hpt_core.files import read_json, write_json
from hpt_core.seeds import derive
from hpt_core.significance import PairedDifference, Reals, paired_difference
from hpt_core.tables import GateRow, SourceStatistics
from pipelines import paths
from pipelines.params import Params
from pipelines.report import page, plot_data, words
from pipelines.report.comparison_file import (
    Accuracy,
    BenchmarkComparison,
    Comparison,
    Gain,
    PairOfArms,
    SourceAccuracy,
    SourceGain,
    TrainingSummary,
)
from pipelines.report.comparisons import compare_policies
from pipelines.report.inputs import describe
from pipelines.report.results import BASE, ResponseRow, Results, read_results
from pipelines.stage.launch import launch

log = logging.getLogger(__name__)


class Outputs(TypedDict):
    """What the stage wrote: the comparison, as in metrics/compare.json, and the path of the report."""

    comparison: Comparison
    page: Path


def run(params: Params, root: Path = Path(".")) -> Outputs:
    """Compare the base policy and the arms of `params` from their files under `root`.

    Raises InputError where a file is missing, or where two files belong to different prompts.
    """
    results = read_results(list(params.arms), root)
    comparison = compare(results, params.seed, params.evaluate.bootstrap, root)
    path = root / paths.REPORT
    write_json(root / paths.COMPARISON, comparison)
    page.write(path, results, comparison, describe(params, _prompts_report(root)))
    plot_data.write(root / paths.PLOT_DATA, results)
    for verdict in comparison["verdicts"]:
        log.info("%s", verdict)
    return {"comparison": comparison, "page": path}


def compare(results: Results, seed: int, draws: int, root: Path) -> Comparison:
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


def training(
    steps: Sequence[Mapping[str, Any]],
    gate: Sequence[GateRow],
    sources: Mapping[str, SourceStatistics],
) -> TrainingSummary:
    """Totals of an arm's training log and gate decisions; sources: data/rollouts/ARM/provenance.json."""
    shares = [row["offline_share"] for row in steps if row.get("offline_share") is not None]
    kinds = [row["kind"] for row in gate if row["trained"]]
    demonstrations = Counter(kind for kind in kinds if kind is not None)
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
        "coverage": coverage(gate),
    }


def _revisited(gate: Sequence[GateRow]) -> dict[str, dict[str, int]]:
    """First route -> last route -> number of prompts, for prompts that occurred more than once."""
    routes: dict[str, list[str]] = {}
    for row in gate:
        routes.setdefault(row["prompt_id"], []).append(row["route"])
    last_routes: dict[str, Counter[str]] = {}
    for prompt_routes in routes.values():
        if len(prompt_routes) > 1:
            last_routes.setdefault(prompt_routes[0], Counter())[prompt_routes[-1]] += 1
    return {first: dict(sorted(last_routes[first].items())) for first in sorted(last_routes)}


def _benchmark(results: Results, name: str, seed: int, draws: int, root: Path) -> BenchmarkComparison:
    scores = _scores(results, name, root)
    accuracy = {policy: results.metrics[policy][name] for policy in results.policies}

    def difference(a: str, b: str) -> PairedDifference:
        return paired_difference(scores[a], scores[b], derive(seed, "compare", name, a, b), draws)

    gain, pairs = compare_policies(name, results.policies, difference)
    return {
        "accuracy": accuracy,
        "gain": gain,
        "pairs": pairs,
        "sources": _by_source(results, name, seed, draws),
        "headline": words.headline(name, accuracy, _indistinguishable(accuracy, gain, pairs)),
    }


def _scores(results: Results, benchmark: str, root: Path) -> dict[str, Reals]:
    """Policy -> score of each prompt [P], with the same prompts in the same order for every policy."""
    prompts: dict[str, list[str]] = {}
    scores: dict[str, Reals] = {}
    for policy in results.policies:
        path = root / paths.evaluation_responses(policy)
        try:
            prompts[policy], correct = correct_matrix(results.responses[policy][benchmark])
        except ValueError as error:
            raise InputError(f"{path}, benchmark {benchmark}: {error}") from error
        scores[policy] = correct.mean(1)
        if prompts[policy] != prompts[BASE]:
            unpaired = sorted(set(prompts[policy]) ^ set(prompts[BASE]))
            raise InputError(
                f"{root / paths.evaluation_responses(BASE)} and {path}: different prompts on {benchmark} "
                f"({len(unpaired)} in one only, such as {unpaired[0]}), so their scores cannot be paired; "
                f"run `dvc repro` to evaluate both on the same prompts"
            )
        _check_settings(results, policy, benchmark, root)
        stated = results.metrics[policy][benchmark]["avg_at_k"]
        if not math.isclose(stated, float(scores[policy].mean()), abs_tol=1e-9):
            raise InputError(
                f"{path} gives an accuracy of {scores[policy].mean():.6f} on {benchmark}, "
                f"{root / paths.evaluation_metrics(policy)} says {stated:.6f}; "
                f"run `dvc repro` to evaluate anew"
            )
    benchmark_prompts = results.prompts.get(benchmark, {})
    for prompt in prompts[BASE]:
        if prompt not in benchmark_prompts:
            raise InputError(
                f"{root / paths.evaluation_responses(BASE)}: prompt {prompt} of {benchmark} "
                f"is not in {root / paths.BENCHMARK_PROMPTS}: "
                f"they are of different runs; run `dvc repro` to evaluate anew"
            )
    return scores


def _check_settings(results: Results, policy: str, benchmark: str, root: Path) -> None:
    """Raise InputError where the scores of the policy and of the base were not measured alike."""
    base, other = (results.metrics[name][benchmark].get("settings") for name in (BASE, policy))
    if names := differing_settings(base, other):
        files = f"{root / paths.evaluation_metrics(BASE)} and {root / paths.evaluation_metrics(policy)}"
        raise InputError(
            f"{files}: the scores on {benchmark} were measured otherwise ({', '.join(names)}), so they "
            "cannot be compared; run `dvc repro` to evaluate both alike"
        )


def _indistinguishable(
    accuracy: Mapping[str, Accuracy], gain: Mapping[str, Gain], pairs: Sequence[PairOfArms]
) -> list[str]:
    """Policies that are not detectably below the one of highest accuracy."""
    best = max(accuracy, key=lambda policy: accuracy[policy]["avg_at_k"])
    detected = {frozenset((arm, BASE)): entry["detected"] for arm, entry in gain.items()}
    detected |= {frozenset((pair["a"], pair["b"])): pair["detected"] for pair in pairs}
    return [policy for policy in accuracy if policy != best and not detected[frozenset((policy, best))]]


def _by_source(results: Results, benchmark: str, seed: int, draws: int) -> dict[str, SourceAccuracy]:
    """Source -> its number of prompts, each policy's accuracy, and each arm's gain over the base."""
    scores: dict[str, dict[str, Reals]] = {}
    for policy in results.policies:
        rows: dict[str, list[ResponseRow]] = {}
        for row in results.responses[policy][benchmark]:
            rows.setdefault(row["source"], []).append(row)
        for source, of_source in rows.items():
            scores.setdefault(source, {})[policy] = correct_matrix(of_source)[1].mean(1)
    return {source: _source(scores[source], source, seed, benchmark, draws) for source in scores}


def _source(
    scores: Mapping[str, Reals], source: str, seed: int, benchmark: str, draws: int
) -> SourceAccuracy:
    gain: dict[str, SourceGain] = {}
    for arm in scores:
        if arm != BASE:
            of_arm = derive(seed, "compare", benchmark, arm, BASE, source)
            result = paired_difference(scores[arm], scores[BASE], of_arm, draws)
            gain[arm] = {"difference": result.difference, "ci95": list(result.interval)}
    return {
        "n_prompts": len(scores[BASE]),
        "accuracy": {policy: float(score.mean()) for policy, score in scores.items()},
        "gain": gain,
    }


def _prompts_report(root: Path) -> ReportFile | None:
    path = root / paths.PROMPTS_REPORT
    return cast("ReportFile", read_json(path)) if path.is_file() else None


def coverage(gate: Sequence[GateRow]) -> float | None:
    """Share of the prompts of an arm's training that have a demonstration; None without a prompt."""
    prompts = {row["prompt_id"] for row in gate}
    covered = {row["prompt_id"] for row in gate if row["trajectory_id"] is not None}
    return len(covered) / len(prompts) if prompts else None


def _sentences(entry: BenchmarkComparison) -> list[str]:
    differences: list[Gain] = [*entry["gain"].values(), *entry["pairs"]]
    return [entry["headline"], *(difference["verdict"] for difference in differences)]


def main() -> None:
    """Entry point of `python -m pipelines.compare`."""

    def body(params: Params) -> None:
        run(params)

    launch("compare", body)


if __name__ == "__main__":
    main()
