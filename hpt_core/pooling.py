"""A mean over training seeds and prompts, where both are a sample of more.

S seeds were trained and answered the same P prompts: x[s, p] = mean + seed_s + prompt_p + rest_sp, two
crossed random effects. The prompts of one seed share its luck, and the seeds share what makes a prompt hard,
so that the S P numbers are not independent. With the mean squares of the analysis of variance

    Var(mean) = (MS_seed + MS_prompt - MS_rest) / (S P)

where a mean square counts as MS_rest at least, with its own degrees of freedom: two seeds that happen to
agree do not prove that seeds do not matter. Interval and p are Student's, with the degrees of freedom of
Satterthwaite (1946, doi 10.2307/3002019), at least 1. Where S is small that variance is often too low by
chance, so the interval is never narrower, nor p lower, than Student's over the S means alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from hpt_core.evaluation import FLIPS, TAIL, Interval, Reals, bootstrap_interval, sign_flip_p


@dataclass(frozen=True)
class Pooled:
    mean: float
    ci95: Interval
    p: float
    """Two-sided, for a mean of 0."""


def pool(values: Reals, bounds: Interval) -> Pooled:
    """Of values [S, P] within `bounds`, S >= 2 seeds and P >= 2 prompts.

    Where all values are the same, interval and p are those of the prompts alone, as of a single seed.
    Raises ValueError for fewer seeds or prompts.
    """
    seeds, prompts = values.shape
    if seeds < 2 or prompts < 2:
        raise ValueError(f"{seeds} seeds and {prompts} prompts; two of each are the least")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        same = values[0]
        return Pooled(mean, bootstrap_interval(same, 0, 1, bounds), sign_flip_p(same, 0, FLIPS))
    estimates = [_crossed(values), _of_seeds(values)]
    reach = max(float(special.stdtrit(freedom, 1 - TAIL)) * error for error, freedom in estimates)
    p = max(2 * float(special.stdtr(freedom, -abs(mean) / error)) for error, freedom in estimates if error)
    low, high = bounds
    return Pooled(mean, (max(low, mean - reach), min(high, mean + reach)), p)


def _of_seeds(values: Reals) -> tuple[float, float]:
    """Standard error of the mean from the S seeds' own means, and its degrees of freedom."""
    seeds = len(values)
    return float(values.mean(1).std(ddof=1)) / sqrt(seeds), seeds - 1


def _crossed(values: Reals) -> tuple[float, float]:
    """Standard error of the mean of values [S, P] by both effects, and its degrees of freedom."""
    seeds, prompts = values.shape
    mean, of_seed, of_prompt = values.mean(), values.mean(1), values.mean(0)
    rest = values - of_seed[:, None] - of_prompt + mean
    free_seed, free_prompt = seeds - 1, prompts - 1
    ms_seed = prompts * float(((of_seed - mean) ** 2).sum()) / free_seed
    ms_prompt = seeds * float(((of_prompt - mean) ** 2).sum()) / free_prompt
    ms_rest = float((rest**2).sum()) / (free_seed * free_prompt)
    parts = [
        (max(ms_seed, ms_rest), free_seed),
        (max(ms_prompt, ms_rest), free_prompt),
        (-ms_rest, free_seed * free_prompt),
    ]
    total = sum(square for square, _ in parts)
    freedom = total**2 / sum(square**2 / free for square, free in parts)
    return sqrt(total / values.size), max(1.0, freedom)
