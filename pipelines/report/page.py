"""The report as one HTML file: what the template is given, and the file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import charts, words
from pipelines.report.attempts import PassCurve, pass_chart
from pipelines.report.charts import Estimate, Series
from pipelines.report.examples import choose
from pipelines.report.results import Results, Row

ROUTES = {
    "sft": "trained on the demonstration",
    "both": "trained on the demonstration and on its own rollouts",
    "rl": "trained on its own rollouts",
    "equal": "all rollouts earned the same: nothing to learn",
    "no_expert": "a demonstration was wanted, none exists",
}
CURVES: dict[str, tuple[str, bool]] = {
    "reward/mean": ("Mean reward of the rollouts", True),
    "dev/accuracy": ("Accuracy on the dev prompts", True),
    "offline_share": ("Offline share of the trained rows", True),
    "entropy": ("Entropy, nats per token", False),
}
"""Metric -> heading, and whether it is a share of 1."""


def write(
    path: Path,
    results: Results,
    comparison: Mapping[str, Any],
    mixes: Mapping[str, Mapping[str, float]],
    seed: int,
) -> None:
    """Write the report to `path`, all or nothing. The same results give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(render(results, comparison, mixes, seed), encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(
    results: Results, comparison: Mapping[str, Any], mixes: Mapping[str, Mapping[str, float]], seed: int
) -> str:
    """The page. Everything that a model or a user wrote is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(words, name) for name in ("percent", "signed", "interval", "count")}
    environment.filters["p_value"] = words.p_value
    styles = {policy: style for style, policy in enumerate(results.policies)}
    return environment.get_template("provenance.html.j2").render(
        comparison=comparison,
        policies=results.policies,
        arms=results.arms,
        mixes=mixes,
        styles=styles,
        swatches={policy: charts.swatch(style) for policy, style in styles.items()},
        pass_charts={name: chart for name in results.benchmarks if (chart := _passes(results, name))},
        accuracy_charts={name: _accuracy(results, name) for name in results.benchmarks},
        sources={name: natural(comparison["benchmarks"][name]["sources"]) for name in results.benchmarks},
        source_charts={name: _sources(results, comparison, name) for name in results.benchmarks},
        curves=_curves(results, styles),
        gates={arm: _gate(arm, results.gates[arm]) for arm in results.arms if results.gates[arm]},
        routes=_routes([row for rows in results.gates.values() for row in rows]),
        examples={name: choose(results, name, seed) for name in results.benchmarks},
        experts=results.experts or {},
    )


def natural(entries: Mapping[str, Any]) -> dict[str, Any]:
    """By key, "level 2" before "level 10"."""

    def parts(key: str) -> list[tuple[bool, int, str]]:
        pieces = re.split(r"(\d+)", key)
        return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]

    return {key: entries[key] for key in sorted(entries, key=parts)}


def _accuracy(results: Results, benchmark: str) -> Markup:
    estimates = []
    for style, policy in enumerate(results.policies):
        entry = results.metrics[policy][benchmark]
        low, high = entry["ci95"]
        estimates.append(Estimate(policy, style, entry["avg_at_k"], (low, high)))
    return charts.dot_whisker(f"Accuracy on {benchmark}", estimates)


def _passes(results: Results, benchmark: str) -> Markup | None:
    """None where there is one response to each prompt: there is no curve then."""
    curves = [
        PassCurve(policy, style, results.metrics[policy][benchmark]["pass_curve"])
        for style, policy in enumerate(results.policies)
    ]
    if len(curves[0].points) == 1:
        return None
    return pass_chart(f"pass@k on {benchmark}", curves)


def _sources(results: Results, comparison: Mapping[str, Any], benchmark: str) -> Markup:
    sources = natural(comparison["benchmarks"][benchmark]["sources"])
    rows = {name: entry["accuracy"] for name, entry in sources.items()}
    return charts.dot_grid(f"Accuracy by source of the prompts of {benchmark}", rows, results.policies)


def _curves(results: Results, styles: Mapping[str, int]) -> dict[str, Markup]:
    """Heading -> chart, for the metrics that some arm has."""
    kinds = sorted(
        {key for steps in results.training.values() for row in steps for key in row if key[:4] == "nll/"}
    )
    wanted = CURVES | {key: (f"NLL of {key[4:]} demonstrations, nats per token", False) for key in kinds}
    drawn = {}
    for key, (heading, share) in wanted.items():
        series = [
            Series(arm, styles[arm], curve)
            for arm in results.arms
            if (curve := _points(results.training[arm], key))
        ]
        if series:
            tick: Callable[[float], str] = _percent_tick if share else _plain_tick
            drawn[heading] = charts.line_chart(heading, series, tick)
    return drawn


def _points(steps: Sequence[Row], key: str) -> tuple[tuple[float, float], ...]:
    """The metric where it was logged; a NaN is a gap."""
    values = [(float(row["step"]), row.get(key)) for row in steps]
    return tuple((step, float(value)) for step, value in values if value is not None and math.isfinite(value))


def _routes(rows: Sequence[Row]) -> dict[str, str]:
    """Route -> meaning; "both" only where some prompt was: a soft gate, or a method without a gate."""
    taken = {row["route"] for row in rows}
    return {route: meaning for route, meaning in ROUTES.items() if route != "both" or route in taken}


def _gate(arm: str, rows: Sequence[Row]) -> Markup:
    steps = sorted({row["step"] for row in rows})
    totals = dict.fromkeys(steps, 0)
    counts = {route: dict.fromkeys(steps, 0) for route in _routes(rows)}
    for row in rows:
        totals[row["step"]] += 1
        counts[row["route"]][row["step"]] += 1
    shares = {route: [of[step] / totals[step] for step in steps] for route, of in counts.items()}
    return charts.gate_chart(f"Gate decisions of {arm}", shares, steps)


def _percent_tick(value: float) -> str:
    return f"{100 * value:.4g}%"


def _plain_tick(value: float) -> str:
    return f"{value:.3g}"
