"""What is published of an evaluation: metrics, the score of every prompt, and a few responses to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow.compute as pc

from hpt_core import tables
from hpt_core.evaluation import BenchmarkResult, Settings, correct_matrix, differing_settings
from hpt_core.files import read_json
from pipelines import paths
from pipelines.report.comparison_file import read_comparison
from pipelines.report.results import BASE, evaluate_stage
from pipelines.tracking import dvc_lock
from pipelines.tracking.dvc_lock import Lock
from pipelines.tracking.run_data import Dataset, matches_lock, schema

Scores = dict[str, dict[str, float]]
"""benchmark -> prompt_id -> share of correct responses"""


class Measurement(NamedTuple):
    """The scores of a policy, and how they were measured."""

    scores: Scores
    settings: dict[str, Settings]
    """benchmark -> settings, where they are recorded"""


def measured_otherwise(a: Measurement, b: Measurement, benchmarks: Iterable[str]) -> list[str]:
    """Names of the settings in which two measurements differ on any of these benchmarks."""
    return sorted(
        {
            setting
            for name in benchmarks
            for setting in differing_settings(a.settings.get(name), b.settings.get(name))
        }
    )


SampleTable = dict[str, list[Any]]
"""Column -> values, a row for each response that is shown."""
CONSTANTS: tuple[Literal["k"], Literal["n_prompts"]] = ("k", "n_prompts")
PER_BENCHMARK = 20
"""Number of prompts of a benchmark whose first response is shown."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluated policy, from metrics/eval/POLICY.json and data/eval/POLICY.parquet."""

    content: str
    """The digest of its evaluate stage: see `dvc_lock.digest`."""
    metrics: dict[str, dict[str, float]]
    """benchmark -> metric -> value"""
    constants: dict[str, int]
    """What the parameters and the prompts fix: tag -> value. As metrics they would be charts."""
    datasets: dict[str, Dataset]
    """benchmark -> its prompts"""
    path: Path
    samples: SampleTable
    scores: Scores
    settings: dict[str, Settings]
    """benchmark -> how it was measured, where that is recorded"""

    @property
    def measurement(self) -> Measurement:
        return Measurement(self.scores, self.settings)


def read_evaluation(root: Path, policy: str, lock: Lock) -> Evaluation | None:
    """The evaluation of an arm or of the base policy; None where the present model has none.

    Raises InputError where its responses are missing.
    """
    stage, path = evaluate_stage(policy), paths.evaluation_metrics(policy)
    if stage not in lock or not matches_lock(root, lock, path):
        return None
    hashes = dvc_lock.dependency_hashes(lock[stage])
    model, prompts = str(paths.model(policy)), str(paths.BENCHMARK_PROMPTS)
    if hashes[model] != dvc_lock.output_hash(lock, model):
        return None  # The evaluation belongs to an earlier model.
    responses = root / paths.evaluation_responses(policy)
    results: dict[str, BenchmarkResult] = read_json(root / path)
    columns = schema(root / prompts)
    return Evaluation(
        content=dvc_lock.digest(lock[stage]),
        metrics={benchmark: dict(_numbers(result)) for benchmark, result in results.items()},
        constants={f"eval.{name}.{c}": result[c] for name, result in results.items() for c in CONSTANTS},
        datasets={
            name: Dataset(
                f"benchmark: {name}", prompts, hashes[prompts], "evaluation", result["n_prompts"], columns
            )
            for name, result in results.items()
        },
        path=root / path,
        samples=read_samples(responses, root / prompts),
        scores=read_scores(responses),
        settings=read_settings(results),
    )


def read_evaluations(root: Path, arms: list[str], lock: Lock) -> dict[str, Evaluation | None]:
    """Policy -> its evaluation, the base policy first."""
    return {policy: read_evaluation(root, policy, lock) for policy in (BASE, *arms)}


def _numbers(result: BenchmarkResult) -> Iterator[tuple[str, float]]:
    """Every measured number of a result under the name of its MLflow metric."""
    for name, value in result.items():
        if isinstance(value, int | float) and name not in CONSTANTS:
            yield name, float(value)
    for point in result.get("pass_curve", []):
        yield f"pass_at_{point['k']}", float(point["pass_at_k"])
    for name, length in result.get("lengths", {}).items():
        yield f"length_{name}", float(length)
    low, high = result["ci95"]
    yield "ci95_low", float(low)
    yield "ci95_high", float(high)


def read_samples(responses: Path, prompts: Path) -> SampleTable:
    """The first response to the first prompts of each benchmark, with the problem and its answer."""
    columns = ["benchmark", "prompt_id", "source", "response", "extracted", "correct", "n_tokens"]
    first_responses = tables.read(responses, columns=[*columns, "sample"], filters=pc.field("sample") == 0)
    by_benchmark: dict[str, list[dict[str, Any]]] = {}
    for row in first_responses:
        by_benchmark.setdefault(row["benchmark"], []).append(row)
    chosen = [row for rows in by_benchmark.values() for row in rows[:PER_BENCHMARK]]
    problems = {
        (row["benchmark"], row["prompt_id"]): row
        for row in tables.read(prompts, columns=["benchmark", "prompt_id", "problem", "answer"])
    }
    merged = [problems[row["benchmark"], row["prompt_id"]] | row for row in chosen]
    return {
        column: [row[column] for row in merged]
        for column in (*columns[:3], "problem", "answer", *columns[3:])
    }


def side_by_side(samples: Mapping[str, SampleTable]) -> SampleTable:
    """The samples of all policies as one table: a row for each prompt, two columns for each policy."""
    shared = ("benchmark", "prompt_id", "source", "problem", "answer")
    first = next(iter(samples.values()))
    prompts = list(zip(first["benchmark"], first["prompt_id"], strict=True))
    table = {name: list(first[name]) for name in shared}
    for policy, columns in samples.items():
        keys = zip(columns["benchmark"], columns["prompt_id"], strict=True)
        row_of = {key: i for i, key in enumerate(keys)}
        for name in ("correct", "response"):
            values = columns[name]
            table[f"{policy}: {name}"] = [values[row_of[key]] if key in row_of else None for key in prompts]
    return table


def read_scores(responses: Path) -> Scores:
    """The score of every prompt, which paired comparisons are computed from."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in tables.read(responses, columns=["benchmark", "prompt_id", "sample", "correct"]):
        groups.setdefault(row["benchmark"], []).append(row)
    scores: Scores = {}
    for benchmark, rows in groups.items():
        prompts, correct = correct_matrix(rows)
        scores[benchmark] = dict(zip(prompts, correct.mean(1).tolist(), strict=True))
    return scores


def read_settings(results: Mapping[str, BenchmarkResult]) -> dict[str, Settings]:
    """How each benchmark of a metrics/eval/POLICY.json was measured, where that is recorded."""
    return {name: result["settings"] for name, result in results.items() if "settings" in result}


def read_verdicts(root: Path) -> list[str]:
    """The sentences of metrics/compare.json; none before the comparison has been made."""
    return read_comparison(root)["verdicts"] if (root / paths.COMPARISON).exists() else []
