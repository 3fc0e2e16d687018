"""Intervals of the real numbers, and the operations on sets of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpt_core.verifier.math.tree import Apply, Node, Symbol

INFINITY = Symbol(r"\infty")


@dataclass(frozen=True)
class End:
    """A constant with its place in the order of the real numbers."""

    place: Any
    node: Node


@dataclass(frozen=True)
class Interval:
    """The numbers between two ends, with or without them."""

    low: End
    has_low: bool
    high: End
    has_high: bool


RealSet = list[Interval]


def infinities() -> tuple[End, End]:
    """The ends of the real numbers."""
    return End(float("-inf"), Apply("neg", (INFINITY,))), End(float("inf"), INFINITY)


def merged(intervals: RealSet) -> RealSet:
    """The set as intervals in order that do not touch."""
    rest = [i for i in intervals if not _is_empty(i)]
    rest.sort(key=lambda i: (i.low.place, not i.has_low))
    merged: RealSet = []
    for interval in rest:
        if merged and _touch(merged[-1], interval):
            last = merged[-1]
            longer = max(last, interval, key=lambda i: (i.high.place, i.has_high))
            merged[-1] = Interval(last.low, last.has_low, longer.high, longer.has_high)
        else:
            merged.append(interval)
    return merged


def intersection(a: RealSet, b: RealSet) -> RealSet:
    """The numbers that are in both; the intervals may touch."""
    found = []
    for x in a:
        for y in b:
            low = max(x, y, key=lambda i: (i.low.place, not i.has_low))
            high = min(x, y, key=lambda i: (i.high.place, i.has_high))
            interval = Interval(low.low, low.has_low, high.high, high.has_high)
            if not _is_empty(interval):
                found.append(interval)
    return found


def complement(intervals: RealSet) -> RealSet:
    """The numbers outside of intervals that are merged."""
    low, high = infinities()
    found = []
    start, has_start = low, False
    for interval in intervals:
        found.append(Interval(start, has_start, interval.low, not interval.has_low))
        start, has_start = interval.high, not interval.has_high
    found.append(Interval(start, has_start, high, False))
    return [i for i in found if not _is_empty(i)]


def _touch(a: Interval, b: Interval) -> bool:
    return bool(b.low.place < a.high.place or (b.low.place == a.high.place and (a.has_high or b.has_low)))


def _is_empty(i: Interval) -> bool:
    return bool(
        i.low.place > i.high.place or (i.low.place == i.high.place and not (i.has_low and i.has_high))
    )
