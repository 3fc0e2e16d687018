"""Charts of lines that are named at their ends: metrics over training steps, and pass@k over k."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from pipelines.report import words
from pipelines.report.markers import colour, curve, marker
from pipelines.report.svg import (
    WIDTH,
    Figure,
    Point,
    Scale,
    coordinates,
    element,
    line,
    percent_range,
    polyline,
    shorten,
    spread,
    step_axis,
    text,
    ticks,
    x_axis,
)

LEFT, RIGHT, TOP = 46.0, WIDTH - 88, 14.0
FEW = 20
"""Largest number of points that are drawn as they are, with markers."""
LABEL = 16.0
"""Least distance of the last two labels of k."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    style: int
    points: Sequence[Point]
    ci95: Sequence[Sequence[float]] = ()
    """Interval at each point, or none."""


def line_chart(title: str, all_series: Sequence[Series], tick: Callable[[float], str]) -> Figure:
    """A line for each series over training steps.

    Above FEW points the line is a centred moving mean, with the points themselves thin behind it.
    """
    bottom = 190.0
    steps = [step for series in all_series for step, _ in series.points]
    x = Scale(min(steps), max(max(steps), min(steps) + 1), LEFT, RIGHT)
    y = Scale(*_from_zero([value for series in all_series for _, value in series.points]), bottom, TOP)
    marks = [*step_axis(x, bottom, int(min(steps)), int(max(steps))), *_y_axis(y, tick)]
    smooth = [replace(series, points=moving_mean(series.points)) for series in all_series]
    for series, mean in zip(all_series, smooth, strict=True):
        if len(series.points) > FEW:
            marks.append(polyline(_places(series.points, x, y), f"raw {colour(series.style)}"))
        marks += _line(mean, x, y)
    ends = "; ".join(
        f"{series.name} from {tick(series.points[0][1])} to {tick(series.points[-1][1])}" for series in smooth
    )
    return Figure(title, f"By training step: {ends}", bottom + 38, [*marks, *_names(smooth, x, y)])


def pass_chart(title: str, curves: Sequence[Series]) -> Figure:
    """A line with its 95% band for each policy, over k on a scale of doublings (points: k, pass@k)."""
    bottom = 220.0
    ks = [k for k, _ in curves[0].points]
    x = Scale(0.0, math.log2(ks[-1]), LEFT + 8, RIGHT - 8)
    y = Scale(
        *percent_range([bound for series in curves for ends in series.ci95 for bound in ends]), bottom, TOP
    )
    last = x(math.log2(ks[-1]))
    labels = [k for k in ks if k == ks[-1] or last - x(math.log2(k)) >= LABEL]
    marks = x_axis(x, bottom, [(math.log2(k), f"{k:g}") for k in labels], "k, responses to each prompt")
    marks += _y_axis(y, lambda share: f"{100 * share:g}%")
    doublings = [
        replace(series, points=[(math.log2(k), share) for k, share in series.points]) for series in curves
    ]
    marks += [_band(series, x, y) for series in doublings]
    for series in doublings:
        marks += _line(series, x, y)
    numbers = "; ".join(f"{series.name} {_pass_at(series, 0)}, {_pass_at(series, -1)}" for series in curves)
    description = f"Chance that one of k responses is right, with 95% interval: {numbers}"
    return Figure(title, description, bottom + 38, [*marks, *_names(doublings, x, y)])


def moving_mean(points: Sequence[Point]) -> list[Point]:
    """Centred mean over a fifteenth of the points; the points themselves where there are at most FEW."""
    reach = len(points) // 30 if len(points) > FEW else 0
    means = []
    for index, (x, _) in enumerate(points):
        window = points[max(0, index - reach) : index + reach + 1]
        means.append((x, math.fsum(value for _, value in window) / len(window)))
    return means


def _from_zero(values: Sequence[float]) -> Point:
    """A range with a margin that holds `values` and 0."""
    low, high = min(0.0, min(values)), max(values)
    return low, high + 0.06 * (high - low) if high - low > 1e-9 else low + (abs(low) or 1.0)


def _y_axis(y: Scale, tick: Callable[[float], str]) -> list[Markup]:
    marks = []
    for value in ticks(y.low, y.high):
        marks.append(line(LEFT, y(value), RIGHT, y(value), "grid"))
        marks.append(text(tick(value), LEFT - 7, y(value) + 4, "end", "tick"))
    return marks


def _places(points: Sequence[Point], x: Scale, y: Scale) -> list[Point]:
    return [(x(a), y(b)) for a, b in points]


def _line(series: Series, x: Scale, y: Scale) -> list[Markup]:
    places = _places(series.points, x, y)
    markers = [marker(series.style, *place, 3.4) for place in places] if len(places) <= FEW else []
    return [curve(series.style, places), *markers]


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    low, high = (
        [(x(at), y(interval[side])) for (at, _), interval in zip(series.points, series.ci95, strict=True)]
        for side in (0, 1)
    )
    return element(
        "polygon", points=coordinates([*low, *high[::-1]]), class_=f"spread {colour(series.style)}"
    )


def _names(all_series: Sequence[Series], x: Scale, y: Scale) -> list[Markup]:
    """The name of each line to the right of the chart, with a leader from where the line ends."""
    marks = []
    ends = [_places(series.points[-1:], x, y)[0] for series in all_series]
    labels = spread([end for _, end in ends], 14, TOP, y.start)
    for series, (end_x, end_y), label in zip(all_series, ends, labels, strict=True):
        leader = [(end_x + 3, end_y), (RIGHT + 9, label)]
        marks.append(polyline(leader, f"leader {colour(series.style)}"))
        name = shorten(series.name, 12)
        marks.append(text(name, RIGHT + 12, label + 4, class_=f"label strong {colour(series.style)}"))
    return marks


def _pass_at(series: Series, index: int) -> str:
    k, share = series.points[index]
    return f"{words.percent(share)} ({words.interval(series.ci95[index])}) at k = {k:g}"
