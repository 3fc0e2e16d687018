"""How often the intervals of accuracies and paired differences hold the true value, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from hpt_core import significance
from hpt_core.significance import TAIL, Interval, Reals, bootstrap_interval, paired_difference
from tests.bench.table import show

TRIALS, DRAWS = 1000, 1000
PROMPTS, SAMPLES = (30, 100, 359), (1, 4, 32)
ACCURACIES = (0.05, 0.2, 0.5, 0.8, 0.95)
CONCENTRATION = 2.0
"""alpha + beta of the beta distribution of the prompts' pass rates."""
Drawn = tuple[Interval, Interval]
"""The interval of this project, and the percentile bootstrap."""


def main() -> None:
    significance.DRAWS = DRAWS
    accuracies = {f"{accuracy:g}": _accuracy(accuracy) for accuracy in ACCURACIES}
    _table("Accuracy", {name: (draw, float(name)) for name, draw in accuracies.items()})
    differences: dict[str, tuple[Callable[[Generator, int, int], Drawn], float]] = {
        "equal policies": (_difference(_equal), 0.0),
        "10 points, all prompts": (_difference(_shifted), 0.1),
        "10 points, every tenth prompt": (_difference(_solved), 0.1),
        "unrelated prompts": (_difference(_unrelated), 0.1),
    }
    _table("Paired difference", differences)


def _table(title: str, cases: dict[str, tuple[Callable[[Generator, int, int], Drawn], float]]) -> None:
    rows = []
    for prompts in PROMPTS:
        for samples in SAMPLES:
            cells = [_cell(draw, truth, prompts, samples) for draw, truth in cases.values()]
            rows.append([f"{prompts} prompts x {samples}", *cells])
    show(f"{title}: % covered / mean width in points (percentile bootstrap)", ["", *cases], rows)


def _cell(draw: Callable[[Generator, int, int], Drawn], truth: float, prompts: int, samples: int) -> str:
    rng = np.random.default_rng(1)
    bounds = np.array([draw(rng, prompts, samples) for _ in range(TRIALS)])  # trial, kind, limit
    covered = ((bounds[..., 0] <= truth) & (truth <= bounds[..., 1])).mean(0)
    width = (bounds[..., 1] - bounds[..., 0]).mean(0)
    return f"{100 * covered[0]:.1f} / {100 * width[0]:.1f} ({100 * covered[1]:.1f} / {100 * width[1]:.1f})"


def _accuracy(accuracy: float) -> Callable[[Generator, int, int], Drawn]:
    def draw(rng: Generator, prompts: int, samples: int) -> Drawn:
        rates = _rates(rng, accuracy, prompts)
        values = rng.binomial(samples, rates) / samples
        return bootstrap_interval(values, int(rng.integers(1 << 32)), DRAWS), _percentiles(rng, values)

    return draw


def _difference(
    policies: Callable[[Generator, int], tuple[Reals, Reals]],
) -> Callable[[Generator, int, int], Drawn]:
    def draw(rng: Generator, prompts: int, samples: int) -> Drawn:
        a, b = (rng.binomial(samples, rates) / samples for rates in policies(rng, prompts))
        result = paired_difference(a, b, int(rng.integers(1 << 32)), DRAWS)
        return result.interval, _percentiles(rng, a - b)

    return draw


def _equal(rng: Generator, prompts: int) -> tuple[Reals, Reals]:
    rates = _rates(rng, 0.4, prompts)
    return rates, rates


def _shifted(rng: Generator, prompts: int) -> tuple[Reals, Reals]:
    rates = 0.9 * _rates(rng, 0.4, prompts)
    return rates + 0.1, rates


def _solved(rng: Generator, prompts: int) -> tuple[Reals, Reals]:
    """Every tenth prompt goes from never to always."""
    rates = _rates(rng, 0.4, prompts)
    gained = rng.random(prompts) < 0.1
    return np.where(gained, 1.0, rates), np.where(gained, 0.0, rates)


def _unrelated(rng: Generator, prompts: int) -> tuple[Reals, Reals]:
    return _rates(rng, 0.5, prompts), _rates(rng, 0.4, prompts)


def _rates(rng: Generator, accuracy: float, prompts: int) -> Reals:
    return rng.beta(accuracy * CONCENTRATION, (1 - accuracy) * CONCENTRATION, prompts)


def _percentiles(rng: Generator, values: Reals) -> Interval:
    """The percentile bootstrap that resamples prompts, as the comparison."""
    means = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(1)
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return float(low), float(high)


if __name__ == "__main__":
    main()
