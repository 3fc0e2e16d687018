"""Tables of measurements beside their requirements."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

REPETITIONS = 5
"""Timings behind each median, after a first one that is not counted."""


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


def seconds(timings: Sequence[float]) -> str:
    """The median and the range of the timings."""
    return f"{median(timings):.2f} s ({min(timings):.2f} to {max(timings):.2f})"
