"""Figures as SVG files of their own, with a style sheet for light and dark and with a legend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipelines.report.gate_colours import Palette
from pipelines.report.markers import swatch
from pipelines.report.svg import WIDTH, Figure, element, text

STYLE_SHEETS = [Path(__file__).parent / "templates" / name for name in ("colours.css", "charts.css")]
MARGIN, HEADING, LINE = 20.0, 34.0, 22.0
ZOOM = 1.5
"""Size at which a viewer shows the file, in pixels for each unit."""
CONTROL, REPLACEMENT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]"), "\ufffd"
"""Characters that XML does not allow, and what stands in their place."""
Entry = tuple[Markup, str]
"""The symbol, drawn within 30 x 16 units, and the text of an entry of the legend."""


def policy_legend(policies: Sequence[str]) -> list[Entry]:
    return [(swatch(style), policy) for style, policy in enumerate(policies)]


def chip_legend(colours: Palette) -> list[Entry]:
    return [
        (
            element("rect", x=8, y=2, width=14, height=12, rx=2, class_=f"route r-{key}"),
            f"{colour.name}: {colour.meaning}",
        )
        for key, colour in colours.items()
    ]


def svg_file(figures: Sequence[Figure], legend: Sequence[Entry] = ()) -> str:
    """One SVG file: the figures below each other under their titles, and the legend."""
    y, parts = MARGIN, []
    for figure in figures:
        parts.append(text(figure.title, 0, y + 12, class_="heading"))
        parts.append(_moved(figure.marks, 0, y + HEADING - 10))
        y += HEADING + figure.height
    for symbol, label in legend:
        parts.append(_moved([symbol, text(label, 38, 12)], 0, y))
        y += LINE
    width, height = WIDTH + 2 * MARGIN, y + MARGIN
    style = "".join(path.read_text(encoding="utf-8") for path in STYLE_SHEETS)
    content = [
        element("title", "; ".join(figure.title for figure in figures)),
        element("desc", " ".join(f"{figure.title}. {figure.description}." for figure in figures)),
        element("style", Markup(style)),
        element("rect", width=width, height=height, class_="paper"),
        _moved(parts, MARGIN, 0),
    ]
    svg = element(
        "svg",
        Markup("").join(content),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=ZOOM * width,
        height=ZOOM * height,
        role="img",
    )
    return f"{CONTROL.sub(REPLACEMENT, svg)}\n"


def _moved(parts: Sequence[Markup], x: float, y: float) -> Markup:
    return element("g", Markup("").join(parts), transform=f"translate({x:g} {y:g})")
