"""The chart of pass@k: what more attempts at a problem are worth, for each policy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from pipelines.report import words
from pipelines.report.charts import WIDTH, name_ends, percent_range
from pipelines.report.svg import DASHES, STYLES, Scale, drawing, element, line, marker, points, text, ticks

LABEL = 16.0
"""Pixels between two labels of k, or the one before the last is left out."""


@dataclass(frozen=True)
class PassCurve:
    """pass@k of one policy, as in `pass_curve` of metrics/eval/POLICY.json."""

    name: str
    style: int
    points: Sequence[Mapping[str, Any]]
    """k, pass_at_k and ci95, k rising."""


def pass_chart(title: str, curves: Sequence[PassCurve]) -> Markup:
    """A line with its 95% band for each policy over k on a scale of doublings, named at its end."""
    top, bottom, left, right = 14.0, 220.0, 46.0, WIDTH - 88
    bounds = [bound for curve in curves for one in curve.points for bound in one["ci95"]]
    y = Scale(*percent_range(bounds), bottom, top)
    ks = [one["k"] for one in curves[0].points]
    x = Scale(0.0, math.log2(ks[-1]), left + 8, right - 8)
    marks = []
    for value in ticks(y.low, y.high):
        marks += [
            line(left, y(value), right, y(value), "grid"),
            text(f"{100 * value:g}%", left - 7, y(value) + 4, "end", "tick"),
        ]
    marks += [line(left, bottom, right, bottom, "axis"), *_axis(ks, x, bottom)]
    marks += [_band(curve, x, y) for curve in curves]
    for curve in curves:
        marks += _line(curve, x, y)
    ends = [(curve.name, curve.style, (x.end, y(curve.points[-1]["pass_at_k"]))) for curve in curves]
    marks += name_ends(ends, right, top, bottom)
    said = "; ".join(f"{curve.name} {_said(curve.points[0])}, {_said(curve.points[-1])}" for curve in curves)
    return drawing(
        WIDTH,
        bottom + 38,
        title,
        f"Chance that one of k responses is right, with 95% interval: {said}",
        *marks,
    )


def _axis(ks: Sequence[int], x: Scale, bottom: float) -> list[Markup]:
    marks = []
    for k, after in [*pairwise(ks), (ks[-1], None)]:
        place = x(math.log2(k))
        marks.append(line(place, bottom, place, bottom + 4, "axis"))
        if after is None or after != ks[-1] or x(math.log2(after)) - place >= LABEL:
            marks.append(text(str(k), place, bottom + 17, "middle", "tick"))
    return [*marks, text("k, responses to each prompt", x.end + 8, bottom + 32, "end", "tick")]


def _band(curve: PassCurve, x: Scale, y: Scale) -> Markup:
    low, high = ([(x(math.log2(one["k"])), y(one["ci95"][side])) for one in curve.points] for side in (0, 1))
    return element("polygon", points=points([*low, *high[::-1]]), class_=f"spread c{curve.style % STYLES}")


def _line(curve: PassCurve, x: Scale, y: Scale) -> list[Markup]:
    places = [(x(math.log2(one["k"])), y(one["pass_at_k"])) for one in curve.points]
    dash = DASHES[curve.style % STYLES] or None
    colour = f"curve c{curve.style % STYLES}"
    path = element("polyline", points=points(places), class_=colour, stroke_dasharray=dash)
    return [path, *(marker(curve.style, *place, 3.4) for place in places)]


def _said(one: Mapping[str, Any]) -> str:
    return f"{words.percent(one['pass_at_k'])} ({words.interval(one['ci95'])}) at k = {one['k']}"
