"""Charts of accuracy: with intervals for each policy, and by source of the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipelines.report import words
from pipelines.report.markers import colour, marker
from pipelines.report.svg import (
    WIDTH,
    Figure,
    Scale,
    element,
    line,
    percent_range,
    shorten,
    text,
    ticks,
    x_axis,
)

TOP, RIGHT = 10.0, WIDTH - 16


@dataclass(frozen=True)
class Estimate:
    """A policy's accuracy with its interval, as shares of 1."""

    name: str
    style: int
    value: float
    ci95: Sequence[float]


def dot_whisker(title: str, estimates: Sequence[Estimate]) -> Figure:
    """A dot for each accuracy and a whisker for its 95% interval, on a common percent scale."""
    height = 38.0
    bottom = TOP + height * len(estimates)
    x = Scale(*percent_range([bound for estimate in estimates for bound in estimate.ci95]), 96.0, RIGHT)
    marks = _percent_axis(x, bottom)
    for index, estimate in enumerate(estimates):
        y, value = TOP + height * (index + 0.62), x(estimate.value)
        low, high = map(x, estimate.ci95)
        whisker, label = f"whisker {colour(estimate.style)}", f"label strong {colour(estimate.style)}"
        marks += [
            text(shorten(estimate.name, 13), x.start - 12, y + 4, "end", label),
            line(low, y, high, y, whisker),
            *(line(end, y - 5, end, y + 5, whisker) for end in (low, high)),
            marker(estimate.style, value, y, 5.5),
            text(words.percent(estimate.value), value, y - 10, "middle", "label number halo"),
        ]
    numbers = "; ".join(f"{e.name} {words.percent(e.value)}, {words.interval(e.ci95)}" for e in estimates)
    return Figure(title, f"Accuracy and 95% interval: {numbers}", bottom + 38, marks)


def dot_grid(title: str, rows: Mapping[str, Mapping[str, float]], policies: Sequence[str]) -> Figure:
    """A row for each source, a dot for each policy's accuracy on it (source -> policy -> share of 1)."""
    height = 8.0 + 7.0 * len(policies)
    bottom = TOP + height * len(rows)
    x = Scale(0.0, 1.0, 142.0, RIGHT)
    tops = [TOP + height * index for index in range(len(rows))]
    marks = [
        element("rect", x=0.0, y=top, width=WIDTH, height=height, class_="band") for top in tops[1::2]
    ] + _percent_axis(x, bottom)
    for top, (source, accuracy) in zip(tops, rows.items(), strict=True):
        marks.append(text(shorten(source, 22), x.start - 12, top + height / 2 + 4, "end"))
        for style, policy in enumerate(policies):
            if policy in accuracy:
                marks.append(marker(style, x(accuracy[policy]), top + 7.5 + 7.0 * style, 3.4))
    numbers = "; ".join(
        f"{source}: " + ", ".join(f"{policy} {words.percent(value)}" for policy, value in accuracy.items())
        for source, accuracy in rows.items()
    )
    return Figure(title, numbers, bottom + 38, marks)


def _percent_axis(x: Scale, bottom: float) -> list[Markup]:
    labels = [(value, f"{100 * value:g}") for value in ticks(x.low, x.high)]
    return x_axis(x, bottom, labels, "accuracy, %", TOP)
