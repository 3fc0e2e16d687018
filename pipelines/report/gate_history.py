"""The gate history: the decisions of a training, counted by prompt and by step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from hpt_core.gate import IMITATED
from hpt_core.tables import GateRow
from pipelines.report.gate_colours import Palette, colour_of

SINGLE_ROWS = 60
"""Largest number of prompts that get a row each. Above it, prompts of one pass rate share a row."""
LEVELS = 11
"""Largest number of pass rates that get a row each. Above it, pass rates of one tenth share a row."""
COLUMNS = 60
"""Largest number of columns. Longer trainings have several steps in a column."""
Cell = Mapping[str, int]
"""Colour -> decisions, in the order in which colours are stacked."""
Rates = tuple[float, float] | None
"""Lowest and highest pass rate; None where no rollout was verified."""


@dataclass(frozen=True)
class Band:
    """A row: prompts that the base policy solves about equally often, or one prompt."""

    rates: Rates
    """Pass rates of the base policy."""
    prompts: tuple[str, ...]
    cells: tuple[Cell, ...]
    """One cell for each column."""

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
    """Hardest prompts first."""
    columns: tuple[tuple[int, int], ...]
    """First and last training step of each column."""


def gate_history(
    gate: Sequence[GateRow],
    rates: Mapping[str, float],
    colours: Palette,
    *,
    single_rows: int = SINGLE_ROWS,
    columns: int | None = None,
) -> GateHistory:
    """The decisions `gate` of an arm, by prompt and step; rates: prompt -> pass rate of the base policy.

    Prompts are sorted by this rate, then by id. Neither depends on the training, so the sorting cannot
    make a pattern. Without `columns`, a cell holds one decision on each of its prompts, on average.
    """
    groups = list(_groups(sorted({row["prompt_id"] for row in gate}), rates, single_rows))
    steps = sorted({row["step"] for row in gate})
    # The number of steps in which a row gets one decision, on average.
    epoch = math.ceil(len(groups) * len(steps) / len(gate))
    count = min(len(steps), columns or min(COLUMNS, math.ceil(len(steps) / epoch)))
    starts = [round(index * len(steps) / count) for index in range(count + 1)]
    row_of = {prompt: index for index, (_, prompts) in enumerate(groups) for prompt in prompts}
    column_of = {step: i for i, (start, end) in enumerate(pairwise(starts)) for step in steps[start:end]}
    cells = [[Counter[str]() for _ in range(count)] for _ in groups]
    for row in gate:
        cells[row_of[row["prompt_id"]]][column_of[row["step"]]][colour_of(row, colours)] += 1
    bands = [
        Band(ends, tuple(prompts), tuple({c: cell[c] for c in colours if cell[c]} for cell in row_cells))
        for (ends, prompts), row_cells in zip(groups, cells, strict=True)
    ]
    return GateHistory(tuple(bands), tuple((steps[a], steps[b - 1]) for a, b in pairwise(starts)))


def _groups(
    prompts: Sequence[str], rates: Mapping[str, float], single_rows: int
) -> Iterator[tuple[Rates, list[str]]]:
    """The pass rates and prompts of each row."""
    exact = len({rates[prompt] for prompt in prompts if prompt in rates}) <= LEVELS

    def level(prompt: str) -> float:
        rate = rates.get(prompt, math.inf)
        return rate if exact or prompt not in rates else math.floor(10 * rate + 1e-9) / 10

    ordered = sorted(prompts, key=lambda prompt: (rates.get(prompt, math.inf), prompt))
    for _, members in groupby(ordered, key=level):
        group = list(members)
        ends = (rates[group[0]], rates[group[-1]]) if group[0] in rates else None
        for row in [[prompt] for prompt in group] if len(prompts) <= single_rows else [group]:
            yield ends, row


def demonstration_share(cell: Cell) -> float | None:
    """Share of the decisions to train on the demonstration; None without decisions."""
    total = sum(cell.values())
    imitated = sum(count for colour, count in cell.items() if colour.split("-")[0] in IMITATED)
    return imitated / total if total else None
