"""avg@k and pass@k of a policy, their confidence intervals, and paired differences between two policies.

The prompt is the unit: the k responses to one prompt are averaged first, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from hpt_core.seeds import derive

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
Interval = tuple[float, float]

TAIL = 0.025
"""Probability on either side of a 95% interval."""
EXACT = 12
"""Largest number of differing prompts for which all 2^n sign flips are counted."""
FLIPS = 20_000
"""Smallest number of sign flips that are drawn: p cannot be below 1 / (1 + flips)."""
BLOCK = 1 << 21
"""Largest number of values held in memory while resampling."""
LEVEL = 0.05
"""A difference is detected where its corrected p is below this level and its interval excludes 0."""


class PassAtK(TypedDict):
    """A point of a pass@k curve."""

    k: int
    pass_at_k: float
    ci95: list[float]


class BenchmarkResult(TypedDict):
    """The entry of metrics/eval/POLICY.json for one benchmark."""

    avg_at_k: float
    pass_at_k: float
    ci95: list[float]
    """95% interval of avg_at_k."""
    k: int
    n_prompts: int
    truncated: float
    """Share of the responses that reached the token limit."""
    mean_length: float
    """Tokens of a response."""
    lengths: dict[str, int]
    """Quantiles of the response lengths in tokens, as `quantiles` gives them."""
    pass_curve: list[PassAtK]


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two policies on the same prompts."""

    difference: float
    interval: Interval
    p: float
    """Two-sided, under the null hypothesis that the two are exchangeable on every prompt."""


def correct_matrix(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Flags]:
    """Sorted prompt ids [P], and whether each of their samples is correct [P, n], from evaluation rows.

    Raises ValueError without rows, for a sample that occurs twice, or where prompts have unequal
    numbers of samples, because their means would not have the same weight.
    """
    if not rows:
        raise ValueError("no responses to evaluate")
    samples: dict[str, dict[int, bool]] = {}
    for row in rows:
        correct_by_sample = samples.setdefault(row["prompt_id"], {})
        if row["sample"] in correct_by_sample:
            raise ValueError(f"prompt {row['prompt_id']}: sample {row['sample']} occurs twice")
        correct_by_sample[row["sample"]] = row["correct"]
    prompts = sorted(samples)
    fewest = min(prompts, key=lambda prompt: len(samples[prompt]))
    most = max(prompts, key=lambda prompt: len(samples[prompt]))
    if len(samples[fewest]) != len(samples[most]):
        raise ValueError(
            f"unequal numbers of samples: {len(samples[fewest])} of prompt {fewest}, "
            f"{len(samples[most])} of prompt {most}; evaluate all prompts anew with one number of samples"
        )
    ordered = [[samples[prompt][sample] for sample in sorted(samples[prompt])] for prompt in prompts]
    return prompts, np.asarray(ordered, dtype=np.bool_)


def avg_at_k(correct: Flags) -> float:
    """Mean correctness of correct [P, n]."""
    return float(correct.mean())


def pass_at_k(correct: Flags, k: int) -> float:
    """Unbiased estimate, from correct [P, n], of the probability that one of k responses is correct.

    1 - C(n - c, k) / C(n, k) for a prompt with c correct responses (Chen et al. 2021, arXiv 2107.03374,
    eq. 1). Raises ValueError where n < k.
    """
    return float(_passes(correct, k).mean())


def _passes(correct: Flags, k: int) -> Reals:
    """pass@k of each prompt [P]."""
    n = correct.shape[1]
    if not 1 <= k <= n:
        raise ValueError(
            f"pass@{k} needs at least {k} samples a prompt, there are {n}; raise evaluate.samples"
        )
    by_count: Reals = np.array([1 - comb(n - c, k) / comb(n, k) for c in range(n + 1)])
    passes: Reals = by_count[correct.sum(1)]
    return passes


def pass_curve(correct: Flags, seed: int, draws: int) -> list[PassAtK]:
    """pass@k of correct [P, n] for k = 1, 2, 4, ... and n, each with its 95% interval.

    Every k uses the same resampled prompts, so that the interval follows the curve.
    """
    curve: list[PassAtK] = []
    for k in _powers(correct.shape[1]):
        passes = _passes(correct, k)
        interval = bootstrap_interval(passes, seed, draws)
        curve.append({"k": k, "pass_at_k": float(passes.mean()), "ci95": list(interval)})
    return curve


def _powers(n: int) -> list[int]:
    """1, 2, 4, ... below n, and n."""
    return [*(1 << power for power in range((n - 1).bit_length())), n]


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """10th, 50th and 90th percentile and maximum of `lengths`, without interpolation."""
    shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0}
    values = np.quantile(np.asarray(lengths), list(shares.values()), method="inverted_cdf")
    return dict(zip(shares, map(int, values), strict=True))


def bootstrap_interval(
    values: Reals, seed: int, draws: int, bounds: Interval = (0.0, 1.0), tail: float = TAIL
) -> Interval:
    """Interval of the mean of values [P], 95% by default: percentiles of `draws` resamples of the P prompts.

    Where all values are the same, resampling would give an interval of no width. The interval then covers
    every share q of prompts with another value, up to `bounds`, that a sample of P prompts misses with a
    probability of `tail` or more: (1 - q)^P = tail. For a policy that is always wrong or always right this is
    the exact binomial (Clopper-Pearson) interval.
    """
    low, high = bounds
    if np.ptp(values) == 0:
        unseen, value = 1 - tail ** (1 / len(values)), float(values[0])
        return value - unseen * (value - low), value + unseen * (high - value)
    rng = np.random.default_rng(seed)
    means = [
        values[rng.integers(len(values), size=(size, len(values)))].mean(1)
        for size in _blocks(draws, len(values))
    ]
    lower, upper = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(lower), float(upper)


def sign_flip_p(differences: Reals, seed: int, draws: int) -> float:
    """Two-sided p of the mean of paired differences [P], by flipping signs.

    Exact where at most `EXACT` differences are not 0. Otherwise signs are drawn, and the observed signs count
    as one draw, so that p is never 0 (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).
    """
    nonzero = differences[differences != 0]
    n = len(nonzero)
    # Sums that are mathematically equal differ by rounding and must count as equal.
    observed = abs(float(nonzero.sum())) - 1e-9
    if n <= EXACT:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(signs @ nonzero) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme = sum(
        int((np.abs((1.0 - 2.0 * rng.integers(2, size=(size, n))) @ nonzero) >= observed).sum())
        for size in _blocks(draws, n)
    )
    return (1 + extreme) / (1 + draws)


def paired_difference(a: Reals, b: Reals, seed: int, draws: int, tail: float = TAIL) -> PairedDifference:
    """a - b for the scores [P] in [0, 1] of two policies on the same prompts, in the same order.

    The interval leaves a probability of `tail` on either side.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired scores need the same prompts: {a.shape[0]} and {b.shape[0]}")
    differences = a - b
    return PairedDifference(
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences, derive(seed, "bootstrap"), draws, (-1.0, 1.0), tail),
        p=sign_flip_p(differences, derive(seed, "sign_flip"), max(draws, FLIPS)),
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for multiple comparisons (Holm 1979), in the order given."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return corrected


def summarise(rows: Sequence[Mapping[str, Any]], k: int, seed: int, draws: int) -> BenchmarkResult:
    """The result on one benchmark from its rows of data/eval/POLICY.parquet.

    Raises ValueError as `correct_matrix` and `pass_at_k` do.
    """
    _, correct = correct_matrix(rows)
    lengths = [row["n_tokens"] for row in rows]
    return {
        "avg_at_k": avg_at_k(correct),
        "pass_at_k": pass_at_k(correct, k),
        "ci95": list(bootstrap_interval(correct.mean(1), seed, draws)),
        "k": k,
        "n_prompts": len(correct),
        "truncated": float(np.mean([row["finish_reason"] == "length" for row in rows])),
        "mean_length": float(np.mean(lengths)),
        "lengths": quantiles(lengths),
        "pass_curve": pass_curve(correct, seed, draws),
    }


def _blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes that sum to `draws`, each with at most about `BLOCK` values in size x width."""
    size = max(1, BLOCK // width)
    for start in range(0, draws, size):
        yield min(size, draws - start)
