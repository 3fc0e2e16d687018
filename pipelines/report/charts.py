"""The charts of the report: numbers in, one SVG out. Units are the pixels of a 420-wide column."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from pipelines.report import words
from pipelines.report.svg import (
    DASHES,
    STYLES,
    Scale,
    drawing,
    element,
    extent,
    group,
    line,
    marker,
    points,
    shorten,
    spread,
    text,
    ticks,
    whole_ticks,
)

WIDTH = 420.0
BINS = 60
"""Columns of a gate chart; longer trainings are averaged into so many."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A policy's accuracy with its interval, shares of 1."""

    name: str
    style: int
    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    style: int
    points: tuple[Point, ...]


def dot_whisker(title: str, estimates: Sequence[Estimate]) -> Markup:
    """A dot for each accuracy and a whisker for its 95% interval, on a common percent scale."""
    row, top, left, right = 38.0, 10.0, 96.0, WIDTH - 16
    bottom = top + row * len(estimates)
    low, high = percent_range([bound for estimate in estimates for bound in estimate.ci95])
    x = Scale(low, high, left, right)
    marks = [_percent_axis(x, top, bottom)]
    for index, estimate in enumerate(estimates):
        y = top + row * (index + 0.62)
        colour = f"c{estimate.style % STYLES}"
        marks += [
            text(shorten(estimate.name, 13), left - 12, y + 4, "end", f"label strong {colour}"),
            line(x(estimate.ci95[0]), y, x(estimate.ci95[1]), y, f"whisker {colour}"),
            *(line(x(end), y - 5, x(end), y + 5, f"whisker {colour}") for end in estimate.ci95),
            marker(estimate.style, x(estimate.value), y, 5.5),
            text(words.percent(estimate.value), x(estimate.value), y - 10, "middle", "label number halo"),
        ]
    said = "; ".join(f"{e.name} {words.percent(e.value)}, {words.interval(e.ci95)}" for e in estimates)
    return drawing(WIDTH, bottom + 34, title, f"Accuracy and 95% interval: {said}", *marks)


def dot_grid(title: str, rows: Mapping[str, Mapping[str, float]], policies: Sequence[str]) -> Markup:
    """A row for each source, a dot for each policy's accuracy on it (source -> policy -> share of 1)."""
    row, top, left, right = 8.0 + 7.0 * len(policies), 10.0, 142.0, WIDTH - 16
    bottom = top + row * len(rows)
    x = Scale(0.0, 1.0, left, right)
    marks = [_percent_axis(x, top, bottom)]
    for index, (source, accuracy) in enumerate(rows.items()):
        middle = top + row * (index + 0.5)
        if index % 2:
            band = element("rect", x=0, y=top + row * index, width=WIDTH, height=row, class_="band")
            marks.insert(0, band)
        marks.append(text(shorten(source, 22), left - 12, middle + 4, "end"))
        for style, policy in enumerate(policies):
            if policy in accuracy:
                y = middle + 7.0 * (style - (len(policies) - 1) / 2)
                marks.append(marker(style, x(accuracy[policy]), y, 3.4))
    said = "; ".join(
        f"{source}: " + ", ".join(f"{policy} {words.percent(value)}" for policy, value in accuracy.items())
        for source, accuracy in rows.items()
    )
    return drawing(WIDTH, bottom + 34, title, said, *marks)


def line_chart(
    title: str, series: Sequence[Series], tick: Callable[[float], str], y_range: Point | None = None
) -> Markup:
    """A line for each series over training steps, named at its end.

    Above 20 points the line is a centred moving mean and the steps themselves are drawn thin behind it.
    """
    top, bottom, left, right = 14.0, 190.0, 46.0, WIDTH - 88
    steps = [x for one in series for x, _ in one.points]
    y = Scale(*(y_range or extent([v for one in series for _, v in one.points], 0.0)), bottom, top)
    x = Scale(min(steps), max(max(steps), min(steps) + 1), left, right)
    marks = [step_axis(x, bottom, int(min(steps)), int(max(steps)))]
    for value in ticks(y.low, y.high):
        marks += [
            line(left, y(value), right, y(value), "grid"),
            text(tick(value), left - 7, y(value) + 4, "end", "tick"),
        ]
    smooth = [moving_mean(one.points) for one in series]
    for one, curve in zip(series, smooth, strict=True):
        marks.append(_curve(one, curve, x, y))
    ends = [
        (one.name, one.style, (x(curve[-1][0]), y(curve[-1][1])))
        for one, curve in zip(series, smooth, strict=True)
    ]
    marks += name_ends(ends, right, top, bottom)
    said = "; ".join(
        f"{one.name} from {tick(curve[0][1])} to {tick(curve[-1][1])}"
        for one, curve in zip(series, smooth, strict=True)
    )
    return drawing(WIDTH, bottom + 38, title, f"By training step: {said}", *marks)


def gate_chart(title: str, routes: Mapping[str, Sequence[float]], steps: Sequence[int]) -> Markup:
    """Stacked shares of a step's prompts by route (route -> share of 1 at each of `steps`)."""
    top, bottom, left, right = 10.0, 130.0, 46.0, WIDTH - 12
    edges = cuts(len(steps), min(len(steps), BINS))
    x, y = Scale(0, len(edges) - 1, left, right), Scale(0.0, 1.0, bottom, top)
    marks = []
    base = [0.0] * (len(edges) - 1)
    for route, shares in routes.items():
        for column, (start, end) in enumerate(pairwise(edges)):
            share = math.fsum(shares[start:end]) / (end - start)
            if share > 0:
                marks.append(_cell(x(column), x(column + 1), y(base[column]), y(base[column] + share), route))
                base[column] += share
    marks += [text(words.percent(v)[:-3] + "%", left - 7, y(v) + 4, "end", "tick") for v in (0.0, 0.5, 1.0)]
    first, last = steps[0], steps[-1]
    axis = Scale(first - 0.5, last + 0.5, left, right)
    marks.append(step_axis(axis, bottom, first, last))
    totals = {route: math.fsum(shares) / len(shares) for route, shares in routes.items()}
    said = "Mean share of prompts: " + ", ".join(f"{r} {words.percent(s)}" for r, s in totals.items())
    return drawing(WIDTH, bottom + 38, title, said, *marks)


def moving_mean(curve: Sequence[Point]) -> list[Point]:
    """Centred mean over a fifteenth of the points; the curve itself where it has 20 or fewer."""
    reach = len(curve) // 30 if len(curve) > 20 else 0
    means = []
    for index, (x, _) in enumerate(curve):
        window = curve[max(0, index - reach) : index + reach + 1]
        means.append((x, math.fsum(v for _, v in window) / len(window)))
    return means


def name_ends(
    ends: Sequence[tuple[str, int, Point]], right: float, top: float, bottom: float
) -> list[Markup]:
    """The name of each line (name, style, where it ends) to the right of `right`, with a leader to it."""
    marks = []
    places = spread([y for _, _, (_, y) in ends], 14, top, bottom)
    for (name, style, (x, y)), place in zip(ends, places, strict=True):
        colour = f"c{style % STYLES}"
        leader = points([(x + 3, y), (right + 9, place)])
        marks += [
            element("polyline", points=leader, class_=f"leader {colour}"),
            text(shorten(name, 12), right + 12, place + 4, class_=f"label strong {colour}"),
        ]
    return marks


def swatch(style: int) -> Markup:
    """The marker and line of a policy, for a legend in HTML."""
    dash = DASHES[style % STYLES] or None
    stroke = element(
        "line", x1=1, y1=8, x2=29, y2=8, class_=f"curve c{style % STYLES}", stroke_dasharray=dash
    )
    parts = Markup("").join(
        [stroke] if style else [],
    ) + marker(style, 15, 8, 4.5)
    return element("svg", parts, viewBox="0 0 30 16", width=30, height=16, aria_hidden="true")


def _curve(one: Series, curve: Sequence[Point], x: Scale, y: Scale) -> Markup:
    colour = f"c{one.style % STYLES}"
    drawn = [(x(step), y(value)) for step, value in curve]
    parts = []
    if len(curve) > 20:
        raw = [(x(step), y(value)) for step, value in one.points]
        parts.append(element("polyline", points=points(raw), class_=f"raw {colour}"))
    dash = DASHES[one.style % STYLES] or None
    parts.append(element("polyline", points=points(drawn), class_=f"curve {colour}", stroke_dasharray=dash))
    if len(curve) <= 20:
        parts += [marker(one.style, *place, 3) for place in drawn]
    return group(*parts)


def _cell(x1: float, x2: float, y1: float, y2: float, route: str) -> Markup:
    # Half a pixel of overlap, or neighbours show a seam.
    return element("rect", x=x1, y=y2, width=x2 - x1 + 0.5, height=y1 - y2, class_=f"route r-{route}")


def cuts(count: int, columns: int) -> list[int]:
    """Where `count` things are cut into `columns` about equal runs: columns + 1 of them."""
    return [round(index * count / columns) for index in range(columns + 1)]


def percent_range(bounds: Sequence[float]) -> Point:
    air = max(0.02, 0.08 * (max(bounds) - min(bounds)))
    return max(0.0, min(bounds) - air), min(1.0, max(bounds) + air)


def _percent_axis(x: Scale, top: float, bottom: float) -> Markup:
    marks = [line(x.start, bottom, x.end, bottom, "axis")]
    for value in ticks(x.low, x.high):
        marks += [
            line(x(value), top, x(value), bottom, "grid"),
            text(f"{100 * value:g}", x(value), bottom + 16, "middle", "tick"),
        ]
    marks.append(text("accuracy, %", x.end, bottom + 30, "end", "tick"))
    return group(*marks)


def step_axis(x: Scale, bottom: float, first: int, last: int) -> Markup:
    marks = [line(x.start, bottom, x.end, bottom, "axis")]
    for value in whole_ticks(first, last):
        marks += [
            line(x(value), bottom, x(value), bottom + 4, "axis"),
            text(str(value), x(value), bottom + 17, "middle", "tick"),
        ]
    marks.append(text("training step", x.end, bottom + 32, "end", "tick"))
    return group(*marks)
