"""Whether a run collapses: the means of the newest steps against the run's own past, by stated rules.

A rule compares the newest `window` steps with the windows before them in the same phase, and is broken where
the mean left the range that it states by more than chance. It reads the record alone, so that a resumed run
raises the same flags.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Literal, NamedTuple

from hpt_core.config import HealthConfig
from hpt_core.errors import TrainingError

log = logging.getLogger(__name__)

ERRORS = {"best": 6.0, "first": 3.0}
"""Standard errors by which two means must differ; more for the best of many, which is good by chance."""


class Window(NamedTuple):
    mean: float
    variance: float
    size: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Window:
        return cls(fmean(values), variance(values), len(values))

    def differs(self, other: Window, errors: float) -> bool:
        error = sqrt(self.variance / self.size + other.variance / other.size)
        return abs(self.mean - other.mean) > errors * error


@dataclass(frozen=True)
class Rule:
    """A range for the mean of a metric, relative to a window of the past."""

    name: str
    metric: str
    past: Literal["best", "first"]
    """best: the window with the largest mean. first: that of the first steps of the phase."""
    factor: float
    """The limit is this times the mean of the past; below 1 it is a lower limit, above 1 an upper one."""
    least: float = 0.0
    """An upper limit is no lower than this."""

    def broken(self, values: Sequence[float], window: int) -> bool:
        """`values` of the metric at the steps of the phase; False before there are two windows of them."""
        if len(values) < 2 * window:
            return False
        newest = Window.of(values[-window:])
        starts = range(len(values) - 2 * window + 1) if self.past == "best" else [0]
        past = max(Window.of(values[start : start + window]) for start in starts)
        limit = self.factor * past.mean
        beyond = newest.mean < limit if self.factor < 1 else newest.mean > max(limit, self.least)
        return beyond and newest.differs(past, ERRORS[self.past])


RULES = (
    Rule("reward_fell", "reward/mean", "best", 0.5),
    Rule("entropy_fell", "entropy", "first", 0.1),
    Rule("entropy_rose", "entropy", "first", 3.0, least=0.5),
    Rule("kl_rose", "kl/old", "first", 10.0, least=0.1),
    Rule("kl_reference_rose", "kl/reference", "first", 10.0, least=1.0),
    Rule("gradient_rose", "grad_norm", "first", 5.0, least=1.0),
    Rule("length_fell", "response/length", "first", 0.25),
    Rule("length_rose", "response/length", "first", 3.0),
    Rule("truncated_rose", "response/truncated", "first", 3.0, least=0.5),
    Rule("clipped_rose", "ratio/clipped", "first", 3.0, least=0.2),
)
"""docs/algorithms.md has them in words."""


def flags(rows: Sequence[Mapping[str, float]], config: HealthConfig) -> dict[str, float]:
    """health/NAME: 1 for each rule that the steps with the metrics `rows`, all of one phase, break."""
    broken = {}
    for rule in RULES:
        values = [row[rule.metric] for row in rows if rule.metric in row]
        if rule.broken(values, config.window):
            broken[f"health/{rule.name}"] = 1.0
    return broken


class Watch:
    """The metrics of the phase so far; says when a rule is broken."""

    def __init__(self, config: HealthConfig, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self.config, self.rows = config, list(rows)

    def check(self, step: int, row: Mapping[str, float]) -> dict[str, float]:
        """The flags of a step. A rule that was not broken at the step before is logged as a warning.

        Raises TrainingError with `stop`, since the weights of a run that collapsed are worth nothing.
        """
        before = self.rows[-1] if self.rows else {}
        found = flags([*self.rows, row], self.config)
        self.rows.append({**row, **found})
        if fresh := [name.removeprefix("health/") for name in found if name not in before]:
            message = (
                f"step {step}: {', '.join(fresh)} in the last {self.config.window} steps, against the run's "
                "own past; it may be collapsing. Lower the rates of train.optimizer, or add train.kl "
                "(docs/algorithms.md has the rules)"
            )
            if self.config.stop:
                raise TrainingError(message)
            log.warning("%s", message)
        return found
