"""What the stages wrote about the base policy and each arm, read and checked in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.evaluation import BenchmarkResult
from hpt_core.files import read_json, read_steps
from hpt_core.tables import GateRow, SourceStatistics
from hpt_core.types import Prompt
from pipelines import paths

BASE = "base"
StepMetrics = dict[str, Any]
"""A line of metrics/train/ARM.jsonl: "step", and metric -> value."""


class ResponseRow(TypedDict):
    """A row of data/eval/POLICY.parquet, `tables.EVALUATION`."""

    benchmark: str
    prompt_id: str
    source: str
    sample: int
    response: str
    extracted: str | None
    correct: bool
    finish_reason: str
    n_tokens: int


@dataclass(frozen=True)
class Results:
    """Everything that is compared. Policies are the base and the arms, in the order of params.yaml."""

    arms: tuple[str, ...]
    metrics: dict[str, dict[str, BenchmarkResult]]
    """policy -> benchmark -> entry of metrics/eval/POLICY.json"""
    responses: dict[str, dict[str, list[ResponseRow]]]
    """policy -> benchmark -> rows of data/eval/POLICY.parquet"""
    training: dict[str, list[StepMetrics]]
    """arm -> lines of metrics/train/ARM.jsonl"""
    gates: dict[str, list[GateRow]]
    """arm -> rows of data/rollouts/ARM/gate.parquet"""
    sources: dict[str, dict[str, SourceStatistics]]
    """arm -> source of demonstrations -> entry of data/rollouts/ARM/provenance.json"""
    base_rates: dict[str, float]
    """training prompt -> pass rate of the base policy, where one of its rollouts was verified"""
    prompts: dict[str, dict[str, Prompt]]
    """benchmark -> prompt_id -> prompt"""
    experts: dict[str, Any]
    """source -> counts of data/experts/report.json; empty where there is no such file"""

    @property
    def policies(self) -> tuple[str, ...]:
        return (BASE, *self.arms)

    @property
    def benchmarks(self) -> list[str]:
        return list(self.metrics[BASE])


def evaluate_stage(policy: str) -> str:
    return "evaluate_base" if policy == BASE else f"evaluate@{policy}"


def read_results(arms: Sequence[str], root: Path) -> Results:
    """Read the files of the base policy and `arms` under `root`.

    Raises InputError, with the name of the file and the stage to run, where a file is missing or unreadable,
    or where two files belong to different runs.
    """
    metrics = read_metrics(arms, root)
    experts = root / paths.EXPERTS_REPORT
    return Results(
        arms=tuple(arms),
        metrics=metrics,
        responses={policy: _responses(root, policy, results) for policy, results in metrics.items()},
        training={arm: read_steps(root / paths.training_metrics(arm)) for arm in arms},
        gates={arm: read_gate(arm, root) for arm in arms},
        sources={arm: read_json(root / paths.source_statistics(arm)) for arm in arms},
        base_rates=tables.read_pass_rates(root / paths.PASS_RATES),
        prompts={
            benchmark: {prompt.prompt_id: prompt for prompt in prompts}
            for benchmark, prompts in tables.read_benchmarks(root / paths.BENCHMARK_PROMPTS).items()
        },
        experts=read_json(experts) if experts.is_file() else {},
    )


def read_metrics(arms: Sequence[str], root: Path) -> dict[str, dict[str, BenchmarkResult]]:
    """Policy -> benchmark -> results. Raises InputError where an arm has other benchmarks than the base."""
    files = {policy: root / paths.evaluation_metrics(policy) for policy in (BASE, *arms)}
    metrics: dict[str, dict[str, BenchmarkResult]] = {
        policy: read_json(file) for policy, file in files.items()
    }
    for arm in arms:
        if set(metrics[arm]) != set(metrics[BASE]):
            raise InputError(
                f"{files[BASE]} has the benchmarks {sorted(metrics[BASE])}, and "
                f"{files[arm]} has {sorted(metrics[arm])}; run `dvc repro` to evaluate both anew"
            )
    return metrics


def read_gate(arm: str, root: Path) -> list[GateRow]:
    return cast(list[GateRow], tables.read(root / paths.gate_decisions(arm), tables.GATE))


def _responses(root: Path, policy: str, metrics: dict[str, BenchmarkResult]) -> dict[str, list[ResponseRow]]:
    path = root / paths.evaluation_responses(policy)
    benchmarks: dict[str, list[ResponseRow]] = {}
    for row in cast(list[ResponseRow], tables.read(path, tables.EVALUATION)):
        benchmarks.setdefault(row["benchmark"], []).append(row)
    counts = {name: len({row["prompt_id"] for row in rows}) for name, rows in benchmarks.items()}
    stated = {name: entry["n_prompts"] for name, entry in metrics.items()}
    if counts != stated:
        raise InputError(
            f"{path} has prompts {counts}, and {root / paths.evaluation_metrics(policy)} has {stated}: "
            f"they belong to different runs; run `dvc repro --force {evaluate_stage(policy)}`"
        )
    return benchmarks
