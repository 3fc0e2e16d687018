"""The promotion gate: whether a candidate replaces the champion, and the reason in one sentence.

Nothing here reads the registry: scores and files go in, and a decision comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from hpt_core import tables
from hpt_core.data.curation.report import ReportFile
from hpt_core.files import read_json
from hpt_core.seeds import derive
from hpt_core.significance import paired_difference
from pipelines import paths
from pipelines.params import Params
from pipelines.report import words
from pipelines.tracking import dvc_lock
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.evaluation_data import Scores

LEAKS = ("in_benchmark", "near_benchmark")
"""The reasons for which `curate` leaves out a training prompt that is a benchmark problem."""


@dataclass(frozen=True)
class Decision:
    """The decision of the gate."""

    promoted: bool
    reason: str
    """One sentence that says whether the candidate was promoted or refused, and why."""


@dataclass(frozen=True)
class Clause:
    """One condition of a promotion."""

    met: bool
    words: str
    """The measured value and how it relates to the condition."""


def decide(
    candidate: Scores,
    opponent: Scores | None,
    name: str,
    data: Sequence[Clause],
    params: Params,
    attempt: int = 1,
    arms: tuple[str, str] = ("candidate", "champion"),
) -> Decision:
    """Promote where every clause is met, on the benchmarks of `params.promotion` and on the data.

    opponent: the scores of the champion or of the starting policy, as `name` says.
    attempt: how many candidates were compared with this opponent, this one included: see `level`.
    arms: the arms of the two, whose interval is then the one that stage `compare` gives them.
    """
    clauses = [*_benchmark_clauses(candidate, opponent, name, params, attempt, arms), *data]
    promoted = all(clause.met for clause in clauses)
    # The clauses that are not met come first.
    reasons = [clause.words for clause in sorted(clauses, key=lambda clause: clause.met)]
    verdict = "promoted" if promoted else "refused"
    return Decision(promoted, f"{verdict}: against {name}, {'; '.join(reasons)}")


def level(attempt: int, confidence: float) -> float:
    """The level that the two-sided p of an attempt must be below.

    1 - confidence is the error budget of all attempts against one opponent, however many nights they take:
    the probability that any candidate that is no better is promoted. Attempt i may spend 1 / (i (i + 1)) of
    it, which sums to 1, so that the bound holds whatever the attempts have in common, such as the
    benchmark's prompts and the opponent's responses. Half of a two-sided p is the error that counts, in
    favour of the candidate; the first attempt has the level of a single comparison.
    """
    return 2 * (1 - confidence) / (attempt * (attempt + 1))


def _benchmark_clauses(
    candidate: Scores,
    opponent: Scores | None,
    name: str,
    params: Params,
    attempt: int,
    arms: tuple[str, str],
) -> list[Clause]:
    if opponent is None:
        return [Clause(False, f"{name} has no evaluation, so there is nothing to compare with")]
    benchmarks = params.gated_benchmarks
    for benchmark in benchmarks:
        prompts = set(candidate.get(benchmark, {}))
        if benchmark not in candidate or prompts != set(opponent.get(benchmark, {})):
            remedy = "set the alias `champion` by hand once you have compared them"
            return [Clause(False, f"{benchmark}: the two were not evaluated on the same prompts; {remedy}")]
    budget = f"attempt {attempt} needs p < {level(attempt, params.promotion.confidence):.2g}"
    kept = f"errors over all attempts against {name} stay within {1 - params.promotion.confidence:.2g}"
    return [
        *(_benchmark_clause(b, candidate[b], opponent[b], params, attempt, arms) for b in benchmarks),
        Clause(True, f"{budget}, so that {kept}"),
    ]


def _benchmark_clause(
    name: str,
    candidate: Mapping[str, float],
    opponent: Mapping[str, float],
    params: Params,
    attempt: int,
    arms: tuple[str, str],
) -> Clause:
    """The difference is detected above the margin; out of distribution, the loss is within the tolerance."""
    gate, prompts = params.promotion, sorted(candidate)
    result = paired_difference(
        np.array([candidate[prompt] for prompt in prompts]),
        np.array([opponent[prompt] for prompt in prompts]),
        derive(params.seed, "compare", name, *arms),
        params.evaluate.bootstrap,
        tail=(1 - gate.confidence) / 2,
        null=gate.margin,
    )
    interval = f"{100 * gate.confidence:g}% {words.interval(result.interval)}, {words.p_value(result.p)}"
    measured = f"on {name} {words.signed(result.difference)} points ({interval})"
    if name in gate.out_of_distribution:
        # A sum of rounded shares may miss the tolerance by the last bit.
        met = result.difference >= -gate.tolerance - 1e-9
        bound = f"a loss of {words.points(gate.tolerance)} is tolerated"
        return Clause(met, f"{measured}, {bound}" if met else f"{measured}, where only {bound}")
    above, needed = result.interval[0] > gate.margin, level(attempt, gate.confidence)
    met = above and result.detected(result.p, needed)
    position = "above" if above else "not wholly above"
    short = f", without p < {needed:.2g}" if above and not met else ""
    return Clause(met, f"{measured}, {position} the margin of {words.points(gate.margin)}{short}")


def outdated(lock: Lock, arm: str) -> Clause | None:
    """A failed clause where the arm was trained on other data than the present; None otherwise.

    `data_clauses` reads the present data, which would then not be those of the arm.
    """
    changed = [
        path
        for path, md5 in dvc_lock.dependency_hashes(lock[f"train@{arm}"]).items()
        if dvc_lock.output_hash(lock, path) not in (None, md5)
    ]
    if not changed:
        return None
    return Clause(False, f"{', '.join(changed)} changed since {arm} was trained; run `hpt run` to the end")


def data_clauses(root: Path, benchmarks: Sequence[str]) -> list[Clause]:
    """No benchmark problem is among the present training prompts, and every demonstration is verified.

    Raises InputError where one of the files is missing or damaged.
    """
    report = cast(ReportFile, read_json(root / paths.PROMPTS_REPORT))
    return [_contamination_clause(root, report, benchmarks), _experts_clause(root)]


def _contamination_clause(root: Path, report: ReportFile, benchmarks: Sequence[str]) -> Clause:
    """The report of `curate` shows no contamination, and the tables confirm it."""
    contamination = report.get("contamination", {})
    if failed := sorted(name for name, passed in report.get("checks", {}).items() if not passed):
        return Clause(False, f"{paths.PROMPTS_REPORT} says that {failed} failed")
    if unknown := sorted(set(benchmarks) - set(contamination.get("benchmark_problems", {}))):
        return Clause(False, f"the training prompts were not compared with {', '.join(unknown)}")
    matched = sum(sum(rules.values()) for rules in contamination["found"].values())
    sources = report["sources"]["train"].values()
    left_out = sum(counts["dropped"].get(reason, 0) for counts in sources for reason in LEAKS)
    if matched != left_out:
        counts = f"{matched} training prompts matched a benchmark and {left_out} were left out"
        return Clause(False, f"{counts}: see {paths.PROMPTS_REPORT}")
    train = set(_column(root / paths.TRAIN_PROMPTS, "prompt_id"))
    if leaked := train & set(_column(root / paths.BENCHMARK_PROMPTS, "prompt_id")):
        return Clause(False, f"{len(leaked)} training prompts are benchmark problems, such as {min(leaked)}")
    return Clause(True, f"no benchmark problem among the training prompts ({left_out} were left out)")


def _experts_clause(root: Path) -> Clause:
    verified = _column(root / paths.EXPERTS, "verified")
    wrong = sum(not flag for flag in verified)
    if wrong:
        return Clause(False, f"{wrong} of {len(verified)} expert trajectories are not verified")
    return Clause(True, f"all {len(verified)} expert trajectories are verified")


def _column(path: Path, name: str) -> list[Any]:
    return [row[name] for row in tables.read(path, columns=[name])]
