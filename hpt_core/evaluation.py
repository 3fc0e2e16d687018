"""avg@k, pass@k, and what may be concluded from them: intervals, paired differences, p values.

The prompt is the unit: the k responses to one prompt are averaged first, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpt_core.seeds import derive

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
Interval = tuple[float, float]

TAIL = 0.025
"""Probability on either side of a 95% interval."""
EXACT = 12
"""Up to so many prompts that differ, every one of the 2^n sign flips is counted."""
FLIPS = 20_000
"""Sign flips drawn at least: they are cheap, and p is never below 1 / (1 + flips)."""
BLOCK = 1 << 21
"""Numbers held at once while resampling."""


@dataclass(frozen=True)
class Difference:
    """Mean over prompts of a - b, on the same prompts."""

    difference: float
    ci95: Interval
    p: float
    """Two-sided, for a and b being exchangeable on every prompt."""


def correct_matrix(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Flags]:
    """Prompt ids in order [P] and correct [P, n] of evaluation rows, samples in order.

    Raises ValueError without rows, for a sample that is there twice, or where prompts have unequal
    numbers of samples: their means would not weigh the same.
    """
    if not rows:
        raise ValueError("no responses to evaluate")
    samples: dict[str, dict[int, bool]] = {}
    for row in rows:
        of_prompt = samples.setdefault(row["prompt_id"], {})
        if row["sample"] in of_prompt:
            raise ValueError(f"prompt {row['prompt_id']}: sample {row['sample']} is there twice")
        of_prompt[row["sample"]] = row["correct"]
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
    """Probability that one of k responses is right, estimated without bias from correct [P, n], n >= k.

    1 - C(n - c, k) / C(n, k) of a prompt with c right responses (Chen et al. 2021, arXiv 2107.03374, eq. 1).
    Raises ValueError where n < k.
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


def pass_curve(correct: Flags, seed: int, draws: int) -> list[dict[str, Any]]:
    """pass@k of correct [P, n] for k = 1, 2, 4, ... and n, each with its 95% interval.

    One set of resampled prompts serves every k, so that the band moves with its curve.
    """
    curve = []
    for k in _powers(correct.shape[1]):
        passes = _passes(correct, k)
        interval = bootstrap_interval(passes, seed, draws)
        curve.append({"k": k, "pass_at_k": float(passes.mean()), "ci95": list(interval)})
    return curve


def _powers(n: int) -> list[int]:
    """1, 2, 4, ... below n, and n."""
    return [*(1 << power for power in range((n - 1).bit_length())), n]


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Lengths that a tenth, half, nine tenths and all of `lengths` do not exceed; each is one of them."""
    shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0}
    found = np.quantile(np.asarray(lengths), list(shares.values()), method="inverted_cdf")
    return dict(zip(shares, map(int, found), strict=True))


def bootstrap_interval(
    values: Reals, seed: int, draws: int, bounds: Interval = (0.0, 1.0), tail: float = TAIL
) -> Interval:
    """Interval of the mean of values [P], 95% by default: percentiles of `draws` resamples of the P prompts.

    Where all values are the same, resampling would claim certainty. The interval then reaches as far as
    a share q of prompts with another value, up to `bounds`, could hide: (1 - q)^P = tail, which for a
    policy that is always wrong or always right is the exact binomial (Clopper-Pearson) interval.
    """
    low, high = bounds
    if np.ptp(values) == 0:
        hidden, value = 1 - tail ** (1 / len(values)), float(values[0])
        return value - hidden * (value - low), value + hidden * (high - value)
    rng = np.random.default_rng(seed)
    means = [
        values[rng.integers(len(values), size=(size, len(values)))].mean(1)
        for size in _blocks(draws, len(values))
    ]
    lower, upper = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(lower), float(upper)


def sign_flip_p(differences: Reals, seed: int, draws: int) -> float:
    """Two-sided p of the mean of paired differences [P], by flipping signs.

    Exact for up to 12 that are not 0. Drawn otherwise, with the observed signs counted among the draws,
    so that p is never 0 (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).
    """
    moved = differences[differences != 0]
    n = len(moved)
    # Sums that are equal on paper differ by rounding and must count as equal.
    observed = abs(float(moved.sum())) - 1e-9
    if n <= EXACT:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(signs @ moved) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme = sum(
        int((np.abs((1.0 - 2.0 * rng.integers(2, size=(size, n))) @ moved) >= observed).sum())
        for size in _blocks(draws, n)
    )
    return (1 + extreme) / (1 + draws)


def paired_difference(a: Reals, b: Reals, seed: int, draws: int) -> Difference:
    """a - b for the scores [P] in [0, 1] of two policies on the same prompts, in the same order."""
    if a.shape != b.shape:
        raise ValueError(f"paired scores need the same prompts: {a.shape[0]} and {b.shape[0]}")
    differences = a - b
    return Difference(
        difference=float(differences.mean()),
        ci95=bootstrap_interval(differences, derive(seed, "bootstrap"), draws, bounds=(-1.0, 1.0)),
        p=sign_flip_p(differences, derive(seed, "sign_flip"), max(draws, FLIPS)),
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the order given."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return corrected


def summarise(rows: Sequence[Mapping[str, Any]], k: int, seed: int, draws: int) -> dict[str, Any]:
    """The entry of metrics/eval/ARM.json for one benchmark, from its rows of data/eval/ARM.parquet.

    truncated is a share of the responses; mean_length and lengths are theirs in tokens. Raises ValueError
    as `correct_matrix` and `pass_at_k` do.
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
    """Sizes that sum to `draws`, so small that size x width numbers fit in memory."""
    size = max(1, BLOCK // width)
    for start in range(0, draws, size):
        yield min(size, draws - start)
