"""The tables of a study in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import paths
from pipelines.lab.sentences import sentences
from pipelines.report import words


def print_plan(console: Console, plan: Sequence[tuple[str, str, int, int]]) -> None:
    """Print what a study would run."""
    table = Table("setting", "methods", "runs", "complete")
    for setting, methods, runs, complete in plan:
        table.add_row(setting, methods, str(runs), str(complete))
    console.print(table)
    console.print(f"{sum(runs - complete for _, _, runs, complete in plan)} runs are missing.")


def print_tables(console: Console, tables: Mapping[str, Any]) -> None:
    """Print the methods of each setting and budget, and where the rest is."""
    benchmark = tables["benchmark"]
    for setting, budgets in tables["results"].items():
        for budget, group in budgets.items():
            table = Table("method", "seeds", benchmark, "95% interval", "steps", "FLOPs")
            table.title = f"{setting}, {budget}"
            for method, of in group["methods"].items():
                on, spent = of["benchmarks"][benchmark], of["spent"]
                accuracy, interval = words.percent(on["accuracy"]), words.interval(on["ci95"])
                amounts = words.count(spent["steps"]), f"{spent['flops']:.2g}"
                table.add_row(method, str(of["seeds"]), accuracy, interval, *amounts)
            if group["methods"]:
                console.print(table)
    for sentence in sentences(tables):
        console.print(sentence)
    if tables["missing"]:
        console.print(f"{tables['missing']} runs are missing.")
    console.print(f"{paths.LAB_REPORT}, {paths.LAB_TABLES}")
