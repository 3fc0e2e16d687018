"""The rows behind `dvc plots`, which reads neither JSONL nor rows of different keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpt_core.files import write_json
from pipelines.report.results import Results

CURVES = ("reward/mean", "offline_share", "dev/accuracy")
"""Metrics of a training step that `plots` of dvc.yaml draws."""


def write(folder: Path, results: Results) -> None:
    """Write training.json and evaluation.json; .dvc/plots has the templates that draw them."""
    write_json(folder / "training.json", training_rows(results))
    write_json(folder / "evaluation.json", evaluation_rows(results))


def training_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each arm and step; null for a metric that the step does not have."""
    return [
        {"arm": arm, "step": step["step"], **{name: step.get(name) for name in CURVES}}
        for arm, steps in results.training.items()
        for step in steps
    ]


def evaluation_rows(results: Results) -> list[dict[str, Any]]:
    """A row for each benchmark and policy: avg@k and its 95% interval."""
    return [
        {
            "benchmark": benchmark,
            "policy": policy,
            "avg_at_k": metrics["avg_at_k"],
            "low": metrics["ci95"][0],
            "high": metrics["ci95"][1],
        }
        for benchmark in results.benchmarks
        for policy in results.policies
        for metrics in [results.metrics[policy][benchmark]]
    ]
