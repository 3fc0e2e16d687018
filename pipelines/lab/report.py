"""reports/lab.json and reports/lab.html: what all studies of a project say so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpt_core.files import write_text
from pipelines import paths
from pipelines.lab.cells import STUDIES, Study, locked
from pipelines.lab.sentences import sentences
from pipelines.lab.tables import tables
from pipelines.report.accuracy_charts import Estimate, dot_whisker
from pipelines.report.figures import CURVES
from pipelines.report.line_charts import Series, line_chart, pass_chart
from pipelines.report.markers import swatch
from pipelines.report.page import templates
from pipelines.report.svg import Figure

TEMPLATES = Path(__file__).parent / "templates"
DETAILS = "details"
"""Key of lab.json below which each study has all its tables."""


def write_report(study: Study) -> dict[str, Any]:
    """Write both files with the present tables of `study` beside those of other studies; returns the tables.

    In lab.json, STUDY -> method -> seed -> accuracy is of the first setting and budget.
    """
    found: dict[str, Any] = json.loads(json.dumps(tables(study)))  # As it will be read: tuples as lists.
    with locked(study.root / STUDIES, wait=True):  # Workers of two studies may be done at once.
        path = study.root / paths.LAB_TABLES
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        first = next(iter(next(iter(found["results"].values())).values()))
        details = {**known.get(DETAILS, {}), study.name: found}
        written = {**known, study.name: first["accuracy"], DETAILS: details}
        # Not sorted: the page of another study's report shows this one in the order of its design.
        write_text(path, json.dumps(written, indent=2, allow_nan=False) + "\n")
        write_text(study.root / paths.LAB_REPORT, page(details))
    return found


def page(studies: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of studies, by name, from their tables. The same tables give the same bytes."""
    return (
        templates(TEMPLATES)
        .get_template("lab.html.j2")
        .render(
            studies=studies,
            charts={name: _charts(study) for name, study in studies.items()},
            swatches={name: _swatches(study) for name, study in studies.items()},
            sentences={name: sentences(study) for name, study in studies.items()},
        )
    )


def _swatches(study: Mapping[str, Any]) -> dict[str, Any]:
    return {method: swatch(style) for method, style in _styles(study).items()}


def _styles(study: Mapping[str, Any]) -> dict[str, int]:
    """Method -> its colour and marker, the same in all charts of a study."""
    compared = [group for budgets in study["results"].values() for group in budgets.values()]
    return {
        name: style for style, name in enumerate(dict.fromkeys(m for c in compared for m in c["methods"]))
    }


def _charts(study: Mapping[str, Any]) -> dict[str, dict[str, list[list[Figure]]]]:
    """Setting -> budget -> charts of accuracy, of more attempts and of training."""
    styles = _styles(study)
    return {
        setting: {budget: _of_methods(group["methods"], styles) for budget, group in budgets.items()}
        for setting, budgets in study["results"].items()
    }


def _of_methods(methods: Mapping[str, Any], styles: Mapping[str, int]) -> list[list[Figure]]:
    if not methods:
        return []
    names = list(next(iter(methods.values()))["benchmarks"])
    accuracy, attempts = [], []
    for name in names:
        entries = {method: of["benchmarks"][name] for method, of in methods.items()}
        estimates = [Estimate(m, styles[m], e["accuracy"], e["ci95"]) for m, e in entries.items()]
        accuracy.append(dot_whisker(f"Accuracy on {name}", estimates))
        curves = [
            Series(
                method,
                styles[method],
                [(float(at["k"]), at["pass_at_k"]) for at in entry["pass_curve"]],
                [at["ci95"] for at in entry["pass_curve"]],
            )
            for method, entry in entries.items()
        ]
        if len(curves[0].points) > 1:
            attempts.append(pass_chart(f"pass@k on {name}", curves))
    training = []
    for key, (heading, share) in CURVES.items():
        series = [
            Series(method, styles[method], [(float(step), value) for step, value in of["curves"][key]])
            for method, of in methods.items()
            if of["curves"].get(key)
        ]
        if series:
            training.append(line_chart(heading, series, _percent if share else _number))
    return [accuracy, attempts, training]


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.2g}"
