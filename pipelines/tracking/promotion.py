"""The promotion gate: whether a candidate takes the place of the champion, and the reason in a sentence.

Nothing here knows the registry: scores and files in, a decision out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hpt_core.evaluation import Interval, bootstrap_interval
from hpt_core.seeds import derive
from pipelines.params import Params
from pipelines.report import words
from pipelines.report.results import read_json
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.run_data import Scores

REPORT = "data/prompts/report.json"
LEAKS = ("in_benchmark", "near_benchmark")
"""Why `curate` leaves out a training prompt that is a benchmark problem."""


@dataclass(frozen=True)
class Decision:
    promoted: bool
    reason: str
    """One sentence, whatever the decision."""


@dataclass(frozen=True)
class Clause:
    """One thing that the gate asks for."""

    met: bool
    words: str


def decide(
    ours: Scores, theirs: Scores | None, opponent: str, data: Sequence[Clause], params: Params
) -> Decision:
    """Promoted where every clause is met: on the benchmarks of `params.promotion`, and on the data.

    ours, theirs: of candidate and `opponent`, which is the champion or the starting policy.
    """
    clauses = [*_on_benchmarks(ours, theirs, opponent, params), *data]
    promoted = all(clause.met for clause in clauses)
    # What stands in the way comes first.
    told = [clause.words for clause in sorted(clauses, key=lambda clause: clause.met)]
    return Decision(
        promoted, f"{'promoted' if promoted else 'refused'}: against {opponent}, {'; '.join(told)}"
    )


def _on_benchmarks(ours: Scores, theirs: Scores | None, opponent: str, params: Params) -> list[Clause]:
    if theirs is None:
        return [Clause(False, f"{opponent} has no evaluation, so there is nothing to compare with")]
    wanted = [*params.promotion_benchmarks, *params.promotion.out_of_distribution]
    for name in wanted:
        if set(ours.get(name, {})) != set(theirs.get(name, {})) or name not in ours:
            remedy = "set the alias `champion` by hand once you have compared them"
            return [Clause(False, f"{name}: the two were not evaluated on the same prompts; {remedy}")]
    return [_on(name, ours[name], theirs[name], params) for name in wanted]


def _on(name: str, ours: dict[str, float], theirs: dict[str, float], params: Params) -> Clause:
    """Better by the margin, with confidence; or out of distribution, measured no worse than the tolerance."""
    gate = params.promotion
    difference, (low, high) = paired(ours, theirs, gate.confidence, derive(params.seed, "gate", name), params)
    share = f"{100 * gate.confidence:g}%"
    measured = f"on {name} {words.signed(difference)} points ({share} {words.interval((low, high))})"
    if name in gate.out_of_distribution:
        # A sum of rounded shares may miss the tolerance by the last bit.
        met = difference >= -gate.tolerance - 1e-9
        bound = f"a loss of {words.points(gate.tolerance)} is tolerated"
        return Clause(met, f"{measured}, {bound}" if met else f"{measured}, where only {bound}")
    met = low > gate.margin
    if met:
        return Clause(met, f"{measured}, above the margin of {words.points(gate.margin)}")
    return Clause(met, f"{measured}, not wholly above the margin of {words.points(gate.margin)}")


def paired(
    ours: dict[str, float], theirs: dict[str, float], confidence: float, seed: int, params: Params
) -> tuple[float, Interval]:
    """Mean difference over the prompts, and its interval from resampled prompts."""
    prompts = sorted(ours)
    differences = np.array([ours[prompt] - theirs[prompt] for prompt in prompts])
    tail = (1 - confidence) / 2
    draws = params.evaluate.bootstrap
    interval = bootstrap_interval(differences, derive(seed, "bootstrap"), draws, (-1.0, 1.0), tail)
    return float(differences.mean()), interval


def outdated(lock: Mapping[str, Any], arm: str) -> Clause | None:
    """That the arm was trained on other data than stand here now, so that these say nothing of it."""
    changed = [
        dep["path"]
        for dep in lock[f"train@{arm}"].get("deps", [])
        if dvc_lock.output_hash(lock, dep["path"]) not in (None, dep["md5"])
    ]
    if not changed:
        return None
    return Clause(False, f"{', '.join(changed)} changed since {arm} was trained; run `hpt run` to the end")


def data_clauses(root: Path, benchmarks: Sequence[str]) -> list[Clause]:
    """Of the data behind the present arms: no benchmark problem trained on, every expert verified.

    Raises InputError where one of their files is missing or broken.
    """
    report = read_json(root / REPORT, "curate")
    return [_contamination(root, report, benchmarks), _experts(root)]


def _contamination(root: Path, report: dict[str, Any], benchmarks: Sequence[str]) -> Clause:
    """The report says so, and the tables bear it out."""
    found = report.get("contamination", {})
    if failed := sorted(name for name, passed in report.get("checks", {}).items() if not passed):
        return Clause(False, f"{REPORT} says that {failed} failed")
    if unknown := sorted(set(benchmarks) - set(found.get("benchmark_problems", {}))):
        return Clause(False, f"the training prompts were not compared with {', '.join(unknown)}")
    matched = sum(sum(rules.values()) for rules in found["found"].values())
    sources = report["sources"]["train"].values()
    left_out = sum(counts["dropped"].get(reason, 0) for counts in sources for reason in LEAKS)
    if matched != left_out:
        told = f"{matched} training prompts matched a benchmark and {left_out} were left out"
        return Clause(False, f"{told}: see {REPORT}")
    train = set(_column(root, run_data.PROMPTS, "curate", "prompt_id"))
    if leaked := train & set(_column(root, run_data.BENCHMARKS, "curate", "prompt_id")):
        return Clause(False, f"{len(leaked)} training prompts are benchmark problems, such as {min(leaked)}")
    return Clause(True, f"no benchmark problem among the training prompts ({left_out} were left out)")


def _experts(root: Path) -> Clause:
    verified = _column(root, run_data.EXPERTS, "experts", "verified")
    wrong = sum(not flag for flag in verified)
    if wrong:
        return Clause(False, f"{wrong} of {len(verified)} expert trajectories are not verified")
    return Clause(True, f"all {len(verified)} expert trajectories are verified")


def _column(root: Path, path: str, stage: str, column: str) -> list[Any]:
    table = pq.read_table(run_data.present(root, path, stage), columns=[column])
    values: list[Any] = table[column].to_pylist()
    return values
