"""The colour, marker and dash of each policy: style 0 is the base policy, the arms follow."""

from __future__ import annotations

from markupsafe import Markup

from pipelines.report.svg import Point, coordinates, element, polyline

STYLES = 7
"""Number of styles before they repeat."""
DASHES = (None, None, "6 3", "2 2.5", "9 3 2 3", "4 2", "1 3")
CORNERS: tuple[tuple[Point, ...], ...] = (
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
    ((-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45)),
)
"""Corners of the markers of styles 2 and above; those of 0 and 1 are circles."""


def colour(style: int) -> str:
    """Class of the style sheet."""
    return f"c{style % STYLES}"


def marker(style: int, x: float, y: float, size: float) -> Markup:
    """Each style has a shape of its own, so that colour is never the only difference."""
    index, kind = style % STYLES, f"mark {colour(style)}"
    if index < 2:
        return element("circle", cx=x, cy=y, r=size, class_=kind if index else f"{kind} hollow")
    corners = [(x + size * dx, y + size * dy) for dx, dy in CORNERS[index - 2]]
    return element("polygon", points=coordinates(corners), class_=kind)


def curve(style: int, places: list[Point]) -> Markup:
    return polyline(places, f"curve {colour(style)}", DASHES[style % STYLES])


def swatch(style: int, **attributes: object) -> Markup:
    """The marker and line of a policy, for a legend; `attributes` are added to the <svg>."""
    parts = curve(style, [(1, 8), (29, 8)]) if style else Markup("")
    parts += marker(style, 15, 8, 4.5)
    return element("svg", parts, **attributes, viewBox="0 0 30 16", width=30, height=16, aria_hidden="true")
