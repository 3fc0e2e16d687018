"""The gate's decisions as colours of a chart: what each stands for, and a step's shares of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hpt_core.gate import IMITATED
from pipelines.report.charts import gate_chart
from pipelines.report.results import Row

ROUTES = {
    "sft": "trained on {whose} demonstration",
    "both": "trained on {whose} demonstration and on its own rollouts",
    "rl": "trained on its own rollouts",
    "equal": "all rollouts earned the same: nothing to learn",
    "no_expert": "a demonstration was wanted, none exists",
}
WHOSE = {"human": "a person's", "program": "a program's", "teacher": "a teacher's"}


@dataclass(frozen=True)
class Colour:
    """A line of the legend."""

    route: str
    name: str
    meaning: str


def palette(rows: Sequence[Row]) -> dict[str, Colour]:
    """Class of the style sheet -> colour, in the order in which they are stacked.

    Demonstrations have a colour for each kind of expert where there are several. "both" is there only where
    some prompt was sent there: by a soft gate, or by a method without a gate.
    """
    kinds = sorted({row["kind"] for row in rows if row["route"] in IMITATED})
    taken = {row["route"] for row in rows}
    colours = {}
    for route, meaning in ROUTES.items():
        if route == "both" and route not in taken:
            continue
        of_kind = kinds if route in IMITATED and len(kinds) > 1 else []
        for kind in of_kind:
            said = meaning.format(whose=WHOSE[kind])
            colours[f"{route}-{kind}"] = Colour(route, f"{route}, {kind}", said)
        if not of_kind:
            colours[route] = Colour(route, route, meaning.format(whose="the"))
    return colours


def colour_of(row: Row, colours: Mapping[str, Colour]) -> str:
    """Which of `colours` the decision has."""
    of_kind = f"{row['route']}-{row['kind']}"
    return of_kind if of_kind in colours else str(row["route"])


def count(rows: Sequence[Row], colours: Mapping[str, Colour]) -> dict[str, int]:
    """Colour -> decisions, for every colour."""
    counts = Counter(colour_of(row, colours) for row in rows)
    return {colour: counts[colour] for colour in colours}


def shares(arm: str, rows: Sequence[Row], colours: Mapping[str, Colour]) -> Markup:
    """The chart of a step's prompts by colour, over the steps of an arm."""
    by_step: dict[int, list[Row]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row)
    steps = sorted(by_step)
    counts = [count(by_step[step], colours) for step in steps]
    stacked = {
        colour: [of[colour] / len(by_step[step]) for step, of in zip(steps, counts, strict=True)]
        for colour in colours
    }
    return gate_chart(f"Gate decisions of {arm}", stacked, steps)
