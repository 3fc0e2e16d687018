"""The ledger of the gate: training prompts, hardest first, by step, and what was decided of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from markupsafe import Markup

from hpt_core.gate import IMITATED
from pipelines.report import words
from pipelines.report.charts import BINS, WIDTH, cuts, step_axis
from pipelines.report.gate_colours import Colour, colour_of
from pipelines.report.results import Row
from pipelines.report.svg import Scale, drawing, element, spread, text

APART = 60
"""Prompts that get a row each; of more, those that the base policy solves equally often share one."""
LEVELS = 11
"""Pass rates that are told apart; of more, those in the same tenth are one."""
LABEL = 13.0
"""Pixels that a row has at least, if there is room for as many: the height of its label."""


@dataclass(frozen=True)
class Band:
    """A row: prompts that the base policy solves about equally often, or one prompt alone."""

    rates: tuple[float, float] | None
    """Lowest and highest pass rate of the base policy; None where none of its rollouts was judged."""
    prompts: tuple[str, ...]
    cells: tuple[Mapping[str, int], ...]
    """Colour -> decisions, in each column; colours in the order in which they are stacked."""

    @property
    def decisions(self) -> int:
        return sum(sum(cell.values()) for cell in self.cells)

    @property
    def label(self) -> str:
        if self.rates is None:
            return "?"
        low, high = (100 * rate for rate in self.rates)
        return f"{low:.3g}%" if low == high else f"{low:.0f}\u2013{high:.0f}%"


@dataclass(frozen=True)
class GateHistory:
    bands: tuple[Band, ...]
    """Hardest first."""
    columns: tuple[tuple[int, int], ...]
    """First and last training step of each."""


def gate_history(
    gate: Sequence[Row],
    rates: Mapping[str, float],
    colours: Mapping[str, Colour],
    *,
    apart: int = APART,
    columns: int | None = None,
) -> GateHistory:
    """The decisions `gate` of an arm by prompt and step; `rates` are the base policy's: prompt -> pass rate.

    The order of prompts is settled before training, so that no pattern comes of the sorting: by pass rate
    of the base policy, then by id. Up to `apart` prompts are a row each. Without `columns` there are as
    many as leave a decision to a cell, on average.
    """
    groups = list(_groups(sorted({row["prompt_id"] for row in gate}), rates, apart))
    steps = sorted({row["step"] for row in gate})
    epoch = math.ceil(
        len(groups) * len(steps) / len(gate)
    )  # steps that bring each row a decision, on average
    wanted = min(len(steps), columns or min(BINS, math.ceil(len(steps) / epoch)))
    spans = [(steps[a], steps[b - 1]) for a, b in pairwise(cuts(len(steps), wanted))]
    row_of = {prompt: index for index, (_, prompts) in enumerate(groups) for prompt in prompts}
    column_of = {s: i for i, (first, last) in enumerate(spans) for s in steps if first <= s <= last}
    cells = [[Counter[str]() for _ in spans] for _ in groups]
    for row in gate:
        cells[row_of[row["prompt_id"]]][column_of[row["step"]]][colour_of(row, colours)] += 1
    bands = [
        Band(ends, tuple(prompts), tuple({c: cell[c] for c in colours if cell[c]} for cell in row))
        for (ends, prompts), row in zip(groups, cells, strict=True)
    ]
    return GateHistory(tuple(bands), tuple(spans))


def _groups(
    prompts: Sequence[str], rates: Mapping[str, float], apart: int
) -> Iterator[tuple[tuple[float, float] | None, list[str]]]:
    """Lowest and highest pass rate, and prompts, of each row."""
    exact = len({rates[p] for p in prompts if p in rates}) <= LEVELS

    def level(prompt: str) -> float:
        rate = rates.get(prompt, math.inf)
        return rate if exact or prompt not in rates else math.floor(10 * rate + 1e-9) / 10

    ordered = sorted(prompts, key=lambda prompt: (rates.get(prompt, math.inf), prompt))
    for _, found in groupby(ordered, key=level):
        alike = list(found)
        ends = (rates[alike[0]], rates[alike[-1]]) if alike[0] in rates else None
        for some in [[one] for one in alike] if len(prompts) <= apart else [alike]:
            yield ends, some


def asked(cell: Mapping[str, int]) -> float | None:
    """The share of decisions that took the demonstration; None where there was none to make."""
    total = sum(cell.values())
    taken = sum(n for colour, n in cell.items() if colour.split("-")[0] in IMITATED)
    return taken / total if total else None


def heat_map(title: str, found: GateHistory, thirds: GateHistory) -> Markup:
    """A row for each band, a column for some steps; a cell is filled by the shares of its decisions.

    The more prompts, the higher the row. `thirds`, of three columns, are told to a screen reader.
    """
    top, bottom, left, right = 22.0, 262.0, 46.0, WIDTH - 12
    edges = _edges(found, top, bottom)
    x = Scale(0, len(found.columns), left, right)
    first, last = found.columns[0][0], found.columns[-1][1]
    marks = [
        element("rect", x=left, y=top, width=right - left, height=bottom - top, class_="band"),
        *_painted(found, edges, x),
        *_rate_labels(found, edges, left, top, bottom),
        text("pass rate of base", 0, top - 10, class_="tick"),
        step_axis(Scale(first - 0.5, last + 0.5, left, right), bottom, first, last),
    ]
    return drawing(WIDTH, bottom + 38, title, _said(thirds), *marks)


def _edges(found: GateHistory, top: float, bottom: float) -> list[float]:
    """Where rows begin and end: an equal part for each, and the rest of the height by its prompts."""
    sizes = [len(band.prompts) for band in found.bands]
    least = min(LABEL, (bottom - top) / len(sizes))
    rest = (bottom - top - least * len(sizes)) / sum(sizes)
    return list(accumulate((least + rest * size for size in sizes), initial=top))


def _painted(found: GateHistory, edges: Sequence[float], x: Scale) -> list[Markup]:
    """One path for each colour, since a rectangle for each share would be ten times the bytes."""
    paths: dict[str, list[str]] = {}
    gap = 1.0 if len(found.bands) <= LEVELS + 1 else 0.0
    for band, (high, low) in zip(found.bands, pairwise(edges), strict=True):
        for column, cell in enumerate(band.cells):
            base = low
            for colour, n in cell.items():
                roof = base - n / sum(cell.values()) * (low - high - gap)
                paths.setdefault(colour, []).append(_box(x(column), x(column + 1), roof, base))
                base = roof
    return [element("path", d="".join(boxes), class_=f"route r-{c}") for c, boxes in sorted(paths.items())]


def _box(x1: float, x2: float, y1: float, y2: float) -> str:
    # Edges are rounded, not widths, or neighbours show a seam.
    a, b, c, d = (round(10 * value) for value in (x1, x2, y1, y2))
    return f"M{a / 10:g} {c / 10:g}h{(b - a) / 10:g}v{(d - c) / 10:g}h{(a - b) / 10:g}z"


def _rate_labels(
    found: GateHistory, edges: Sequence[float], left: float, top: float, bottom: float
) -> list[Markup]:
    labels, middles = [], []
    rows = zip(found.bands, pairwise(edges), strict=True)
    for label, alike in groupby(rows, key=lambda row: row[0].label):
        heights = [height for _, heights in alike for height in heights]
        labels.append(label)
        middles.append((heights[0] + heights[-1]) / 2)
    places = spread(middles, 12, top + 5, bottom - 5)
    return [text(one, left - 7, y + 4, "end", "tick") for one, y in zip(labels, places, strict=True)]


def _said(thirds: GateHistory) -> str:
    (_, early), (late, _) = thirds.columns[0], thirds.columns[-1]
    changes = []
    for band in thirds.bands:
        shares = [asked(band.cells[0]), asked(band.cells[-1])]
        before, after = ("no decision" if share is None else words.percent(share) for share in shares)
        solved = f"that base solves {band.label} of the time" if band.rates else "without a pass rate of base"
        changes.append(f"{before} to {after} for {len(band.prompts)} prompts {solved}")
    when = f"up to step {early} and from step {late} on"
    return f"Share of decisions for the demonstration, {when}: {'; '.join(changes)}"
