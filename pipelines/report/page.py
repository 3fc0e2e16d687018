"""The report as one HTML page: the values that its templates show, and the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpt_core.files import write_text
from hpt_core.tables import SourceStatistics
from pipelines.report import figures, gate_colours, words
from pipelines.report.comparison_file import Comparison, TrainingSummary
from pipelines.report.examples import choose
from pipelines.report.figures import natural
from pipelines.report.gate_colours import Palette
from pipelines.report.gate_history import SINGLE_ROWS, GateHistory, demonstration_share, gate_history
from pipelines.report.inputs import Inputs
from pipelines.report.markers import swatch
from pipelines.report.results import Results
from pipelines.report.svg import Figure

TEMPLATES = Path(__file__).parent / "templates"


def write(path: Path, results: Results, comparison: Comparison, inputs: Inputs) -> None:
    """Write the report to `path`, complete or not at all. The same results give the same bytes."""
    write_text(path, render(results, comparison, inputs))


def render(results: Results, comparison: Comparison, inputs: Inputs) -> str:
    """The page. Everything that a model or a user wrote is escaped."""
    return (
        templates()
        .get_template("provenance.html.j2")
        .render(
            comparison=comparison,
            metrics=results.metrics,
            policies=results.policies,
            arms=results.arms,
            inputs=inputs,
            few_demonstrations=[arm for arm in results.arms if few(comparison["training"][arm])],
            many=words.MANY,
            experts=results.experts,
            swatches={policy: swatch(style) for style, policy in enumerate(results.policies)},
            examples={name: choose(results, name, inputs.seed) for name in results.benchmarks},
            **_accuracy(results, comparison),
            **_training(results, comparison),
        )
    )


def templates(*folders: Path) -> Environment:
    """The templates of the report and of `folders`, with the filters that write numbers as words."""
    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "covered": words.covered,
        "cut_short": words.cut_short,
        "unjudged": words.unjudged,
        "signed": words.signed,
        "interval": words.interval,
        "count": words.count,
        "p_value": words.p_value,
        "share": _share,
        "nats": _nats,
        "demonstration_share": demonstration_share,
    }
    return environment


def few(summary: TrainingSummary) -> bool:
    """Whether so few prompts of an arm have a demonstration that a reader must know."""
    share = summary.get("coverage")
    return share is not None and share < words.FEW


def _accuracy(results: Results, comparison: Comparison) -> dict[str, Any]:
    """Values of the sections on evaluation, by benchmark."""
    sources = {name: comparison["benchmarks"][name]["sources"] for name in results.benchmarks}
    curves = {name: figures.pass_at_k(name, results.metrics) for name in results.benchmarks}
    return {
        "sources": {name: natural(entries) for name, entries in sources.items()},
        "source_charts": {
            name: figures.by_source(name, entries, results.policies) for name, entries in sources.items()
        },
        "accuracy_charts": {name: figures.accuracy(name, results.metrics) for name in results.benchmarks},
        "losses": {name: words.losses(name, natural(entries)) for name, entries in sources.items()},
        "pass_charts": {name: curve for name, curve in curves.items() if curve is not None},
    }


def _training(results: Results, comparison: Comparison) -> dict[str, Any]:
    """Values of the sections on demonstrations, training and the gate, by arm."""
    colours = gate_colours.palette([row for gate in results.gates.values() for row in gate])
    gates = {arm: _decisions(results, arm, colours) for arm in results.arms}
    shown = {colour.route for colour in colours.values()}
    summaries = comparison["training"]
    return {
        "contributions": {arm: _by_kind(summaries[arm]["sources"]) for arm in results.arms},
        "revisited": {arm: first for arm in results.arms if (first := summaries[arm]["revisited"])},
        "curves": figures.training_curves(results.training),
        "colours": colours,
        "gates": gates,
        "routes": [route for route in gate_colours.ROUTES if route in shown],
        "single_rows": SINGLE_ROWS,
        "most_prompts": max(decisions.prompts for decisions in gates.values()),
    }


@dataclass(frozen=True)
class Decisions:
    """An arm's gate decisions."""

    counts: dict[str, int]
    """Colour -> decisions."""
    prompts: int
    charts: list[Figure]
    thirds: GateHistory
    """The gate history in three columns, for the table."""


def _decisions(results: Results, arm: str, colours: Palette) -> Decisions:
    gate, rates = results.gates[arm], results.base_rates
    thirds = gate_history(gate, rates, colours, single_rows=0, columns=3)
    return Decisions(
        counts=gate_colours.count(gate, colours),
        prompts=sum(len(band.prompts) for band in thirds.bands),
        charts=figures.gate_charts(arm, gate, rates, colours),
        thirds=thirds,
    )


def _by_kind(sources: Mapping[str, SourceStatistics]) -> list[tuple[str, SourceStatistics]]:
    """Sources with their statistics, sorted by kind."""
    return sorted(natural(sources).items(), key=lambda item: str(item[1]["kind"]))


def _share(share: float | None) -> str:
    return words.NONE if share is None else words.percent(share)


def _nats(nll: float | None) -> str:
    return words.NONE if nll is None else f"{nll:.3f}"
