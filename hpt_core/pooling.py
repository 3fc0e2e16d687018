"""A mean over training seeds and prompts, where both are random samples.

S policies were trained with different seeds and answered the same P prompts. Their scores have two crossed
random effects, x[s, p] = mean + seed_s + prompt_p + residual_sp: all prompts of one seed share the effect of
that seed, and all seeds share the difficulty of a prompt, so that the S P numbers are not independent. With
the mean squares of the analysis of variance

    Var(mean) = (MS_seed + MS_prompt - MS_residual) / (S P)

A mean square counts as MS_residual at least, with its own degrees of freedom, because two seeds that agree by
chance do not prove that seeds have no effect. Interval and p come from Student's t distribution with the
degrees of freedom of Satterthwaite (1946, doi 10.2307/3002019), at least 1. For a small S this variance is
often too low by chance, so the interval is never narrower, and p never lower, than those of Student's t over
the S means alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from hpt_core.significance import (
    DRAWS,
    TAIL,
    Interval,
    PairedDifference,
    Reals,
    bootstrap_interval,
    sign_flip_p,
)


@dataclass(frozen=True)
class PooledMean:
    """A mean over seeds and prompts."""

    mean: float
    ci95: Interval
    p: float
    """Two-sided, under the null hypothesis of a mean of 0."""


def pooled_difference(a: Reals, b: Reals) -> PairedDifference:
    """a - b for the scores [S, P] in [0, 1] of two policies, paired by seed and by prompt."""
    pooled = pool(a - b, (-1.0, 1.0))
    return PairedDifference(pooled.mean, pooled.ci95, pooled.p)


def pool(values: Reals, bounds: Interval) -> PooledMean:
    """The mean of values [S, P] within `bounds`, for S >= 2 seeds and P >= 2 prompts.

    Where all values are the same, interval and p are computed from the prompts of one seed.
    Raises ValueError for fewer seeds or prompts.
    """
    seeds, prompts = values.shape
    if seeds < 2 or prompts < 2:
        raise ValueError(f"{seeds} seeds and {prompts} prompts; pooling needs at least two of each")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        same = values[0]
        return PooledMean(mean, bootstrap_interval(same, 0, 1, bounds), sign_flip_p(same, 0, DRAWS))
    estimates = [_crossed_effects_error(values), _seed_means_error(values)]
    reach = max(float(special.stdtrit(freedom, 1 - TAIL)) * error for error, freedom in estimates)
    p = max(2 * float(special.stdtr(freedom, -abs(mean) / error)) for error, freedom in estimates if error)
    low, high = bounds
    return PooledMean(mean, (max(low, mean - reach), min(high, mean + reach)), p)


def _seed_means_error(values: Reals) -> tuple[float, float]:
    """Standard error of the mean from the S means of the seeds, and its degrees of freedom."""
    seeds = len(values)
    return float(values.mean(1).std(ddof=1)) / sqrt(seeds), seeds - 1


def _crossed_effects_error(values: Reals) -> tuple[float, float]:
    """Standard error of the mean of values [S, P] with both effects, and its degrees of freedom."""
    seeds, prompts = values.shape
    mean, seed_means, prompt_means = values.mean(), values.mean(1), values.mean(0)
    residuals = values - seed_means[:, None] - prompt_means + mean
    free_seed, free_prompt = seeds - 1, prompts - 1
    ms_seed = prompts * float(((seed_means - mean) ** 2).sum()) / free_seed
    ms_prompt = seeds * float(((prompt_means - mean) ** 2).sum()) / free_prompt
    ms_residual = float((residuals**2).sum()) / (free_seed * free_prompt)
    terms = [
        (max(ms_seed, ms_residual), free_seed),
        (max(ms_prompt, ms_residual), free_prompt),
        (-ms_residual, free_seed * free_prompt),
    ]
    total = sum(square for square, _ in terms)
    freedom = total**2 / sum(square**2 / free for square, free in terms)
    return sqrt(total / values.size), max(1.0, freedom)
