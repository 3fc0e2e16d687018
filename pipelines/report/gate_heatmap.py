"""Charts of the gate's decisions: their shares by step, and the gate history as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

from markupsafe import Markup

from hpt_core.tables import GateRow
from pipelines.report import words
from pipelines.report.gate_colours import Palette, count
from pipelines.report.gate_history import COLUMNS, LEVELS, GateHistory, demonstration_share, gate_history
from pipelines.report.svg import WIDTH, Figure, Scale, element, spread, step_axis, text

LEFT, RIGHT = 46.0, WIDTH - 12
LABEL = 13.0
"""Least height of a row of the heat map, where there is room: the height of its label."""


def share_chart(title: str, gate: Sequence[GateRow], colours: Palette) -> Figure:
    """Stacked shares of the decisions by step: a history in which all prompts share one row."""
    top, bottom = 10.0, 130.0
    history = gate_history(gate, {}, colours, single_rows=0, columns=COLUMNS)
    y = Scale(0.0, 1.0, bottom, top)
    labels = [text(f"{100 * share:g}%", LEFT - 7, y(share) + 4, "end", "tick") for share in (0.0, 0.5, 1.0)]
    shares = ", ".join(
        f"{colours[colour].name} {words.percent(number / len(gate))}"
        for colour, number in count(gate, colours).items()
    )
    marks = [*_cells(history, [top, bottom], gap=0.0), *labels, _axis(history, bottom)]
    return Figure(title, f"Share of the decisions: {shares}", bottom + 38, marks)


def heat_map(title: str, history: GateHistory, thirds: GateHistory) -> Figure:
    """A row for each band, a column for some steps; a cell is filled by the shares of its decisions.

    The more prompts, the higher the row. The description is made from `thirds`, of three columns.
    """
    top, bottom = 22.0, 262.0
    edges = _edges(history, top, bottom)
    ground = element("rect", x=LEFT, y=top, width=RIGHT - LEFT, height=bottom - top, class_="band")
    cells = _cells(history, edges, gap=1.0 if len(history.bands) <= LEVELS + 1 else 0.0)
    caption = text("pass rate of base", 0, top - 10, class_="tick")
    marks = [ground, *cells, *_rate_labels(history, edges), caption, _axis(history, bottom)]
    return Figure(title, _changes(thirds), bottom + 38, marks)


def _axis(history: GateHistory, bottom: float) -> Markup:
    first, last = history.columns[0][0], history.columns[-1][1]
    return Markup("").join(step_axis(Scale(first - 0.5, last + 0.5, LEFT, RIGHT), bottom, first, last))


def _edges(history: GateHistory, top: float, bottom: float) -> list[float]:
    """The y where rows begin and end: each has the least height, and the rest goes by numbers of prompts."""
    sizes = [len(band.prompts) for band in history.bands]
    least = min(LABEL, (bottom - top) / len(sizes))
    rest = (bottom - top - least * len(sizes)) / sum(sizes)
    return list(accumulate((least + rest * size for size in sizes), initial=top))


def _cells(history: GateHistory, edges: Sequence[float], gap: float) -> list[Markup]:
    """One path for each colour, since a rectangle for each share would be ten times the bytes."""
    x = Scale(0, len(history.columns), LEFT, RIGHT)
    paths: dict[str, list[str]] = {}
    for band, (high, low) in zip(history.bands, pairwise(edges), strict=True):
        for column, cell in enumerate(band.cells):
            base = low
            for colour, number in cell.items():
                upper = base - number / sum(cell.values()) * (low - high - gap)
                paths.setdefault(colour, []).append(_box(x(column), x(column + 1), upper, base))
                base = upper
    return [element("path", d="".join(boxes), class_=f"route r-{c}") for c, boxes in sorted(paths.items())]


def _box(left: float, right: float, top: float, bottom: float) -> str:
    # The edges are rounded, not the widths, so that neighbours meet without a seam.
    x1, x2, y1, y2 = (round(10 * value) for value in (left, right, top, bottom))
    return f"M{x1 / 10:g} {y1 / 10:g}h{(x2 - x1) / 10:g}v{(y2 - y1) / 10:g}h{(x1 - x2) / 10:g}z"


def _rate_labels(history: GateHistory, edges: Sequence[float]) -> list[Markup]:
    labels, middles = [], []
    rows = zip(history.bands, pairwise(edges), strict=True)
    for label, members in groupby(rows, key=lambda row: row[0].label):
        heights = [height for _, ends in members for height in ends]
        labels.append(label)
        middles.append((heights[0] + heights[-1]) / 2)
    places = spread(middles, 12, edges[0] + 5, edges[-1] - 5)
    return [text(label, LEFT - 7, y + 4, "end", "tick") for label, y in zip(labels, places, strict=True)]


def _changes(thirds: GateHistory) -> str:
    (_, early), (late, _) = thirds.columns[0], thirds.columns[-1]
    changes = []
    for band in thirds.bands:
        shares = [demonstration_share(band.cells[0]), demonstration_share(band.cells[-1])]
        before, after = ("no decision" if share is None else words.percent(share) for share in shares)
        solved = f"that base solves {band.label} of the time" if band.rates else "without a pass rate of base"
        changes.append(f"{before} to {after} for {len(band.prompts)} prompts {solved}")
    period = f"up to step {early} and from step {late} on"
    return f"Share of decisions for the demonstration, {period}: {'; '.join(changes)}"
