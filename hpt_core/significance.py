"""Confidence intervals of a mean over prompts, and paired differences between two policies.

The prompt is the unit: its score is the mean over its responses. Several training seeds: `hpt_core.pooling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpt_core.seeds import derive

Reals = NDArray[np.float64]
Interval = tuple[float, float]

TAIL = 0.025
"""Probability on either side of a 95% interval."""
EXACT = 12
"""Largest number of differing prompts for which all 2^n sign flips are counted."""
DRAWS = 50_000
"""Smallest number of weights or sign flips that are drawn: a drawn p cannot be below 1 / (1 + draws)."""
FINEST = 1024
"""Largest denominator with which differences count as fractions, whose sign flips are all counted."""
ROUNDING = 1e-14
"""Smallest p that the count of sign flips resolves; a smaller one is reported as this."""
UNSEEN = 0.5
"""Smallest difference that the interval of a paired difference assumes of an unseen prompt."""
BLOCK = 1 << 21
"""Largest number of values held in memory while resampling."""
LEVEL = 0.05
"""A difference is detected where its corrected p is below this level and its interval excludes 0."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two policies on the same prompts."""

    difference: float
    interval: Interval
    p: float
    """Two-sided, under the null hypothesis that the two are exchangeable on every prompt, up to `null`."""
    null: float = 0.0
    """The difference under the null hypothesis."""

    def detected(self, p: float, level: float = LEVEL) -> bool:
        """The one test of this project: `p` is below the level, and the interval excludes `null`.

        p: that of this difference, corrected for the number of comparisons where there are several.
        """
        low, high = self.interval
        return p < level and not low <= self.null <= high


def bootstrap_interval(
    values: Reals, seed: int, draws: int, bounds: Interval = (0.0, 1.0), tail: float = TAIL
) -> Interval:
    """Interval of the mean of values [P] within `bounds`, 95% by default.

    The Bayesian bootstrap with one prompt more: the weights of the P prompts and of one unseen prompt are
    drawn uniformly from all weights that sum to 1. A limit is the quantile `tail` of the weighted mean,
    with the unseen prompt at the bound of that side (Gaffke 2005; arXiv 1905.06208). For prompts that are
    right or wrong it is the exact binomial interval (Clopper and Pearson 1934). Percentiles of resampled
    prompts cover the mean in 80 to 93% of samples of 30 prompts, because resampling never shows a prompt
    unlike those seen; this one in 95% or more (docs/experiments.md). Where all values are the same the
    limits have a closed form.
    """
    low, high = bounds
    if np.ptp(values) == 0:
        unseen, value = 1 - tail ** (1 / len(values)), float(values[0])
        return value - unseen * (value - low), value + unseen * (high - value)
    # The weights are exponential draws over their sum. Those of equal values add up to a gamma draw.
    distinct, counts = np.unique(values, return_counts=True)
    rng, lower, upper = np.random.default_rng(seed), [], []
    for size in _blocks(max(draws, DRAWS), len(distinct)):
        weights = rng.standard_gamma(counts, size=(size, len(distinct)))
        unseen_weight = rng.standard_exponential(size)
        total, weighted = weights.sum(1) + unseen_weight, weights @ distinct
        lower.append((weighted + low * unseen_weight) / total)
        upper.append((weighted + high * unseen_weight) / total)
    return (
        float(np.quantile(np.concatenate(lower), tail)),
        float(np.quantile(np.concatenate(upper), 1 - tail)),
    )


def sign_flip_p(differences: Reals, seed: int, draws: int) -> float:
    """Two-sided p of the mean of paired differences [P], by flipping signs.

    All flips count where at most `EXACT` differences are not 0, or where the differences are fractions with
    one denominator of at most `FINEST`, as shares of k responses are. Otherwise signs are drawn, and the
    observed signs count as one draw, so that p is never 0 (Phipson and Smyth 2010, doi
    10.2202/1544-6115.1585).
    """
    nonzero = differences[differences != 0]
    n = len(nonzero)
    # Sums that are mathematically equal differ by rounding and must count as equal.
    observed = abs(float(nonzero.sum())) - 1e-9
    if n <= EXACT:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(signs @ nonzero) >= observed).mean())
    if (units := _whole_units(nonzero)) is not None:
        return _counted_p(units)
    rng = np.random.default_rng(seed)
    extreme = sum(
        int((np.abs((1.0 - 2.0 * rng.integers(2, size=(size, n))) @ nonzero) >= observed).sum())
        for size in _blocks(draws, n)
    )
    return (1 + extreme) / (1 + draws)


def _whole_units(values: Reals) -> NDArray[np.int64] | None:
    """The values in units of 1/d for the smallest d that makes them whole; None where it is over `FINEST`."""
    for denominator in range(1, FINEST + 1):
        units = np.rint(values * denominator)
        if np.abs(values * denominator - units).max() < 1e-9:
            return units.astype(np.int64)
    return None


def _counted_p(units: NDArray[np.int64]) -> float:
    """Two-sided p of a sum of whole differences [n] over all 2^n sign flips.

    A difference d with a random sign has the characteristic function cos(d t), so that the distribution of
    the sum is the Fourier transform of a product.
    """
    distinct, counts = np.unique(np.abs(units), return_counts=True)
    observed, width = abs(int(units.sum())), 2 * int(distinct @ counts) + 1
    angles = 2 * np.pi * np.arange(width // 2 + 1) / width
    product = np.ones(len(angles))
    for difference, count in zip(distinct, counts, strict=True):
        product *= np.cos(difference * angles) ** count
    probability = np.fft.irfft(product, width)
    # The sum s has index s, and -s has index width - s.
    p = 2 * probability[observed : width // 2 + 1].sum() if observed else 1.0
    return float(np.clip(p, ROUNDING, 1.0))


def paired_difference(
    a: Reals, b: Reals, seed: int, draws: int, tail: float = TAIL, null: float = 0.0
) -> PairedDifference:
    """a - b for the scores [P] in [0, 1] of two policies on the same prompts, in the same order.

    The interval leaves a probability of `tail` on either side; p is that of a difference of `null`. The
    interval takes the difference on an unseen prompt to be the largest that was seen, or `UNSEEN` where
    that is larger, and 1 where no two differ: assuming 1 always would double the interval of 30 prompts
    with 32 samples each.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired scores need the same prompts: {a.shape[0]} and {b.shape[0]}")
    differences = np.round(a - b, 12)  # Equal differences of shares may differ by rounding.
    unseen = max(UNSEEN, float(np.abs(differences).max())) if np.ptp(differences) else 1.0
    return PairedDifference(
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences, derive(seed, "bootstrap"), draws, (-unseen, unseen), tail),
        p=sign_flip_p(differences - null, derive(seed, "sign_flip"), max(draws, DRAWS)),
        null=null,
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for multiple comparisons (Holm 1979), in the order given."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return corrected


def _blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes that sum to `draws`, each with at most about `BLOCK` values in size x width."""
    size = max(1, BLOCK // width)
    for start in range(0, draws, size):
        yield min(size, draws - start)
