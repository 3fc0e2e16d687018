"""The pieces that charts are drawn from: elements, linear scales, ticks, markers. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STYLES = 7
"""Colours, markers and dashes before they repeat; 0 is the base policy's."""
DASHES = ("", "", "6 3", "2 2.5", "9 3 2 3", "4 2", "1 3")


def element(name: str, content: str | Markup = "", **attributes: object) -> Markup:
    """<name attributes>content</name>, all escaped; `class_` is class, `_` in a name is `-`."""
    parts = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(parts), escape(content))


def _number(value: object) -> object:
    return f"{round(value, 2) + 0.0:g}" if isinstance(value, float) else value


def group(*children: Markup, **attributes: object) -> Markup:
    return element("g", Markup("").join(children), **attributes)


def text(content: str, x: float, y: float, anchor: str = "start", class_: str = "label") -> Markup:
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def drawing(width: float, height: float, title: str, description: str, *children: Markup) -> Markup:
    """An <svg> that scales with its column and tells a screen reader what it shows."""
    return element(
        "svg",
        element("title", title) + element("desc", description) + Markup("").join(children),
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=f"{title}. {description}",
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


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high], about `wanted` of them."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def whole_ticks(low: int, high: int, wanted: int = 5) -> list[int]:
    """`ticks` for counts such as steps."""
    return [int(tick) for tick in ticks(low, high, wanted) if tick == int(tick)] if high > low else [low]


def extent(values: Sequence[float], floor: float | None = None) -> tuple[float, float]:
    """A range with a little air that holds `values`, and `floor` where it is given."""
    low, high = min(values), max(values)
    if floor is not None:
        low = min(low, floor)
    if high - low < 1e-9:
        return low - (0.5 if floor is None else 0), low + (abs(low) or 1.0)
    return low, high + 0.06 * (high - low)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Label positions in the order given, moved apart to `gap` and kept within [low, high]."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [0.0] * len(positions)
    previous = low - gap
    for index in order:
        previous = placed[index] = max(positions[index], previous + gap)
    limit = high + gap
    for index in reversed(order):
        limit = placed[index] = min(placed[index], limit - gap)
    return placed


def marker(style: int, x: float, y: float, size: float = 4.5) -> Markup:
    """A shape of its own for each policy, so that colour is never the only difference."""
    kind, s = f"mark c{style % STYLES}", size
    shapes: tuple[list[tuple[float, float]], ...] = (
        [(-s, -s), (s, -s), (s, s), (-s, s)],
        [(0, -1.3 * s), (1.2 * s, 0.9 * s), (-1.2 * s, 0.9 * s)],
        [(0, -1.35 * s), (1.35 * s, 0), (0, 1.35 * s), (-1.35 * s, 0)],
        [(0, 1.3 * s), (1.2 * s, -0.9 * s), (-1.2 * s, -0.9 * s)],
        [(-s, -0.45 * s), (s, -0.45 * s), (s, 0.45 * s), (-s, 0.45 * s)],
    )
    index = style % STYLES
    if index < 2:
        return element("circle", cx=x, cy=y, r=size, class_=f"{kind} hollow" if index == 0 else kind)
    return element("polygon", points=points([(x + dx, y + dy) for dx, dy in shapes[index - 2]]), class_=kind)


def points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def shorten(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
