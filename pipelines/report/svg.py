"""What every chart is drawn from: SVG elements, figures, scales and axes. Lengths are in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 420.0
"""Width of a figure: one column of the page."""
Point = tuple[float, float]


def element(name: str, content: str | Markup = "", **attributes: object) -> Markup:
    """<name attributes>content</name>, escaped; `class_` stands for class, `_` in an attribute for `-`."""
    parts = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(parts), escape(content))


def _number(value: object) -> object:
    return f"{round(value, 2) + 0.0:g}" if isinstance(value, float) else value


def text(content: str, x: float, y: float, anchor: str = "start", class_: str = "label") -> Markup:
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(places: Sequence[Point], class_: str, dash: str | None = None) -> Markup:
    return element("polyline", points=coordinates(places), class_=class_, stroke_dasharray=dash)


def coordinates(places: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


@dataclass(frozen=True)
class Figure:
    """A chart, and the text that a screen reader reads instead of it."""

    title: str
    description: str
    height: float
    marks: Sequence[Markup]

    def svg(self, **attributes: object) -> Markup:
        """An <svg> that scales with its column; `attributes` are added to it."""
        head = element("title", self.title) + element("desc", self.description)
        return element(
            "svg",
            head + Markup("").join(self.marks),
            **attributes,
            viewBox=f"0 0 {WIDTH:g} {self.height:g}",
            role="img",
            aria_label=f"{self.title}. {self.description}",
        )


@dataclass(frozen=True)
class Scale:
    """Linear map of [low, high] to [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def x_axis(
    x: Scale, bottom: float, labels: Iterable[tuple[float, str]], caption: str, top: float | None = None
) -> list[Markup]:
    """The axis at `bottom` with (value, label) ticks; with `top`, a grid line at each tick up to there."""
    marks = [line(x.start, bottom, x.end, bottom, "axis")]
    for value, label in labels:
        place = x(value)
        tick = (bottom + 4, "axis") if top is None else (top, "grid")
        marks += [
            line(place, bottom, place, *tick),
            text(label, place, bottom + 17, "middle", "tick"),
        ]
    return [*marks, text(caption, x.end, bottom + 32, "end", "tick")]


def step_axis(x: Scale, bottom: float, first: int, last: int) -> list[Markup]:
    """The axis of training steps `first` to `last`."""
    steps = [step for step in ticks(first, last, 5) if step == int(step)] if last > first else [first]
    return x_axis(x, bottom, [(step, f"{step:.0f}") for step in steps], "training step")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high], about `count` of them."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def percent_range(shares: Sequence[float]) -> Point:
    """A range within [0, 1] that holds `shares` with a margin."""
    margin = max(0.02, 0.08 * (max(shares) - min(shares)))
    return max(0.0, min(shares) - margin), min(1.0, max(shares) + margin)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions of labels, moved so that they are `gap` apart and within [low, high]."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [0.0] * len(positions)
    previous = low - gap
    for index in order:
        previous = placed[index] = max(positions[index], previous + gap)
    limit = high + gap
    for index in reversed(order):
        limit = placed[index] = min(placed[index], limit - gap)
    return placed


def shorten(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
