"""The report as one HTML file: what the template is given, and the file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import charts, gate_colours, words
from pipelines.report.attempts import PassCurve, pass_chart
from pipelines.report.charts import Estimate, Series
from pipelines.report.examples import choose
from pipelines.report.gate_heatmap import APART, GateHistory, asked, gate_history, heat_map
from pipelines.report.results import Results, Row

NONE = "\u2013"
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
    environment.filters |= {"p_value": words.p_value, "share": _share, "nats": _nats, "asked": asked}
    styles = {policy: style for style, policy in enumerate(results.policies)}
    colours = gate_colours.palette([row for rows in results.gates.values() for row in rows])
    gates = {arm: _gate(results, arm, colours) for arm in results.arms}
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
        trained_on={arm: _by_kind(comparison["training"][arm]["sources"]) for arm in results.arms},
        revisited={arm: of for arm in results.arms if (of := comparison["training"][arm]["revisited"])},
        routes=[
            route
            for route in gate_colours.ROUTES
            if any(colour.route == route for colour in colours.values())
        ],
        colours=colours,
        gates=gates,
        apart=APART,
        most=max(decided.prompts for decided in gates.values()),
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


def _by_kind(sources: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Sources with their entries, kind by kind."""
    return sorted(natural(sources).items(), key=lambda item: str(item[1]["kind"]))


@dataclass(frozen=True)
class Decisions:
    """An arm's gate decisions."""

    counts: dict[str, int]
    """colour -> decisions"""
    prompts: int
    shares: Markup
    """The chart by step."""
    gate_history: Markup
    """The chart by prompt and step."""
    thirds: GateHistory
    """The ledger as numbers."""


def _gate(results: Results, arm: str, colours: Mapping[str, gate_colours.Colour]) -> Decisions:
    rows, rates = results.gates[arm], results.base_rates
    thirds = gate_history(rows, rates, colours, apart=0, columns=3)
    drawn = heat_map(f"Ledger of {arm}", gate_history(rows, rates, colours), thirds)
    prompts = sum(len(band.prompts) for band in thirds.bands)
    return Decisions(
        gate_colours.count(rows, colours), prompts, gate_colours.shares(arm, rows, colours), drawn, thirds
    )


def _percent_tick(value: float) -> str:
    return f"{100 * value:.4g}%"


def _plain_tick(value: float) -> str:
    return f"{value:.3g}"


def _share(share: float | None) -> str:
    return NONE if share is None else words.percent(share)


def _nats(nll: float | None) -> str:
    return NONE if nll is None else f"{nll:.3f}"
