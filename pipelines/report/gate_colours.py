"""The gate's decisions as colours of the charts, and what each colour stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpt_core.gate import IMITATED
from hpt_core.tables import GateRow

ROUTES = {
    "sft": "train on {whose} demonstration",
    "both": "train on {whose} demonstration and on the rollouts",
    "rl": "train on the policy's own rollouts",
    "equal": "all rollouts have the same reward: nothing to learn",
    "no_expert": "a demonstration is needed, and the prompt has none",
    "none": "the method gives the prompt no weight",
}
"""Route -> its meaning, in the order in which routes are stacked."""
RARE = ("both", "none")
"""Routes that the legend has only where some prompt took them."""
WHOSE = {"human": "a person's", "program": "a program's", "teacher": "a teacher's"}


@dataclass(frozen=True)
class Colour:
    """An entry of the legend."""

    route: str
    name: str
    meaning: str


Palette = Mapping[str, Colour]
"""Class of the style sheet -> colour, in the order in which they are stacked."""


def palette(rows: Sequence[GateRow]) -> Palette:
    """The colours of `rows`. Demonstrations have one for each kind of expert, where there are several."""
    kinds = sorted({str(row["kind"]) for row in rows if row["route"] in IMITATED})
    taken = {row["route"] for row in rows}
    colours = {}
    for route, meaning in ROUTES.items():
        if route in RARE and route not in taken:
            continue
        if route in IMITATED and len(kinds) > 1:
            for kind in kinds:
                name = f"{route}, {kind}"
                colours[f"{route}-{kind}"] = Colour(route, name, meaning.format(whose=WHOSE[kind]))
        else:
            colours[route] = Colour(route, route, meaning.format(whose="the"))
    return colours


def colour_of(row: GateRow, colours: Palette) -> str:
    """Which of `colours` the decision has."""
    with_kind = f"{row['route']}-{row['kind']}"
    return with_kind if with_kind in colours else row["route"]


def count(rows: Sequence[GateRow], colours: Palette) -> dict[str, int]:
    """Colour -> decisions, for every colour."""
    counts = Counter(colour_of(row, colours) for row in rows)
    return {colour: counts[colour] for colour in colours}
