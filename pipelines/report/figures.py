"""The figures of the comparison and of each arm, for the page and as SVG files of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hpt_core.errors import InputError
from hpt_core.evaluation import BenchmarkResult
from hpt_core.files import read_steps
from hpt_core.tables import GateRow, read_pass_rates
from pipelines import paths
from pipelines.report import gate_colours
from pipelines.report.accuracy_charts import Estimate, dot_grid, dot_whisker
from pipelines.report.comparison_file import SourceAccuracy, read_comparison
from pipelines.report.gate_colours import Palette
from pipelines.report.gate_heatmap import heat_map, share_chart
from pipelines.report.gate_history import gate_history
from pipelines.report.line_charts import Series, line_chart, pass_chart
from pipelines.report.results import BASE, StepMetrics, read_gate, read_metrics
from pipelines.report.standalone import chip_legend, policy_legend, svg_file
from pipelines.report.svg import Figure, Point

T = TypeVar("T")
CURVES = {
    "reward/mean": ("Mean reward of the rollouts", True),
    "dev/accuracy": ("Accuracy on the dev prompts", True),
    "offline_share": ("Offline share of the trained rows", True),
    "entropy": ("Entropy, nats per token", False),
}
"""Metric -> heading, and whether it is a share of 1."""
Metrics = Mapping[str, Mapping[str, BenchmarkResult]]
"""policy -> benchmark -> results"""


def figures(root: Path) -> dict[str, str]:
    """Name -> SVG file on all policies of metrics/compare.json under `root`; nothing where it is missing.

    Raises InputError where a file that it was made from is missing, or is of another run.
    """
    if not (root / paths.COMPARISON).is_file():
        return {}
    comparison = read_comparison(root)
    arms = comparison["arms"]
    metrics = read_metrics(arms, root)
    if set(comparison["benchmarks"]) != set(metrics[BASE]):
        raise InputError(
            f"{root / paths.COMPARISON} has the benchmarks {sorted(comparison['benchmarks'])}, and the base "
            f"policy was evaluated on {sorted(metrics[BASE])}; run `dvc repro compare`"
        )
    files = {}
    for benchmark in metrics[BASE]:
        sources = comparison["benchmarks"][benchmark]["sources"]
        files[f"accuracy-{benchmark}"] = svg_file([accuracy(benchmark, metrics)])
        files[f"sources-{benchmark}"] = svg_file(
            [by_source(benchmark, sources, list(metrics))], policy_legend(list(metrics))
        )
        if (curves := pass_at_k(benchmark, metrics)) is not None:
            files[f"pass_at_k-{benchmark}"] = svg_file([curves])
    logs = {arm: read_steps(root / paths.training_metrics(arm)) for arm in arms}
    files |= {name: svg_file([figure]) for name, figure in training_curves(logs).items()}
    gates = {arm: read_gate(arm, root) for arm in arms}
    colours = gate_colours.palette([row for gate in gates.values() for row in gate])
    shares = [share_chart(f"Gate decisions of {arm}", gate, colours) for arm, gate in gates.items()]
    files["gate"] = svg_file(shares, chip_legend(colours))
    return _named(files)


def arm_figures(root: Path, arm: str) -> dict[str, str]:
    """Name -> SVG file on the training of one arm. Raises InputError where one of its files is missing."""
    curves = training_curves({arm: read_steps(root / paths.training_metrics(arm))})
    files = {name: svg_file([figure]) for name, figure in curves.items()}
    gate = read_gate(arm, root)
    colours = gate_colours.palette(gate)
    rates = read_pass_rates(root / paths.PASS_RATES)
    files["gate"] = svg_file(gate_charts(arm, gate, rates, colours), chip_legend(colours))
    return _named(files)


def _named(files: Mapping[str, str]) -> dict[str, str]:
    """Names of benchmarks and metrics as names of files."""
    return {re.sub(r"[^\w.-]+", "_", name): text for name, text in files.items()}


def accuracy(benchmark: str, metrics: Metrics) -> Figure:
    estimates = [
        Estimate(policy, style, entry[benchmark]["avg_at_k"], entry[benchmark]["ci95"])
        for style, (policy, entry) in enumerate(metrics.items())
    ]
    return dot_whisker(f"Accuracy on {benchmark}", estimates)


def by_source(benchmark: str, sources: Mapping[str, SourceAccuracy], policies: Sequence[str]) -> Figure:
    rows = {name: entry["accuracy"] for name, entry in natural(sources).items()}
    return dot_grid(f"Accuracy by source of the prompts of {benchmark}", rows, policies)


def pass_at_k(benchmark: str, metrics: Metrics) -> Figure | None:
    """None where there is one response to each prompt, because that makes no curve."""
    curves = []
    for style, (policy, entry) in enumerate(metrics.items()):
        curve = entry[benchmark]["pass_curve"]
        points = [(float(at["k"]), at["pass_at_k"]) for at in curve]
        curves.append(Series(policy, style, points, [at["ci95"] for at in curve]))
    return pass_chart(f"pass@k on {benchmark}", curves) if len(curves[0].points) > 1 else None


def training_curves(logs: Mapping[str, Sequence[StepMetrics]]) -> dict[str, Figure]:
    """Metric -> chart, for the metrics that some arm has."""
    keys = {key for steps in logs.values() for step in steps for key in step}
    nll = {
        key: (f"NLL of {key.removeprefix('nll/')} demonstrations, nats per token", False)
        for key in sorted(keys)
        if key.startswith("nll/")
    }
    charts = {}
    for key, (heading, share) in (CURVES | nll).items():
        series = [
            Series(arm, style, points)
            for style, (arm, steps) in enumerate(logs.items(), 1)
            if (points := _finite(steps, key))
        ]
        if series:
            tick: Callable[[float], str] = _percent_tick if share else _plain_tick
            charts[key] = line_chart(heading, series, tick)
    return charts


def gate_charts(
    arm: str, gate: Sequence[GateRow], rates: Mapping[str, float], colours: Palette
) -> list[Figure]:
    """The shares of an arm's decisions by step, and its gate history."""
    thirds = gate_history(gate, rates, colours, single_rows=0, columns=3)
    return [
        share_chart(f"Gate decisions of {arm}", gate, colours),
        heat_map(f"Gate history of {arm}", gate_history(gate, rates, colours), thirds),
    ]


def natural(entries: Mapping[str, T]) -> dict[str, T]:
    """The entries by key, with "level 2" before "level 10"."""

    def parts(key: str) -> list[tuple[bool, int, str]]:
        pieces = re.split(r"(\d+)", key)
        return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]

    return {key: entries[key] for key in sorted(entries, key=parts)}


def _finite(steps: Iterable[StepMetrics], key: str) -> list[Point]:
    """The metric at the steps that have it; steps with NaN are left out."""
    values = [(float(step["step"]), step.get(key)) for step in steps]
    return [(step, float(value)) for step, value in values if value is not None and math.isfinite(value)]


def _percent_tick(value: float) -> str:
    return f"{100 * value:.4g}%"


def _plain_tick(value: float) -> str:
    return f"{value:.3g}"
