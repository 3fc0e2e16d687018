"""avg@k and pass@k of a policy, from its responses to a benchmark.

The prompt is the unit: the k responses to one prompt are averaged first, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from hpt_core.significance import Reals, bootstrap_interval

Flags = NDArray[np.bool_]


Settings = dict[str, Any]
"""Setting -> value, of all that a score depends on beside policy and seed; `hash` is that of the others."""


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
    unjudged: NotRequired[float]
    """Share of the responses on which the verifier exceeded its limits; they count as not solved."""
    settings: NotRequired[Settings]
    """How the score was measured; absent from files of older versions."""


def differing_settings(a: Settings | None, b: Settings | None) -> list[str]:
    """Names of the settings with which two scores were measured otherwise, so that they cannot be compared.

    None stands for a score whose settings are not known; two of them are taken to be alike.
    """
    if a is None or b is None:
        return [] if a is b else ["settings that are not recorded"]
    return sorted(name for name in a.keys() | b.keys() if name != "hash" and a.get(name) != b.get(name))


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
    return float(passes_of_prompts(correct, k).mean())


def passes_of_prompts(correct: Flags, k: int) -> Reals:
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
    """pass@k of correct [P, n] for k = 1, 2, 4, ... and n, each with its 95% interval."""
    curve: list[PassAtK] = []
    for k in doublings(correct.shape[1]):
        passes = passes_of_prompts(correct, k)
        interval = bootstrap_interval(passes, seed, draws)
        curve.append({"k": k, "pass_at_k": float(passes.mean()), "ci95": list(interval)})
    return curve


def doublings(n: int) -> list[int]:
    """1, 2, 4, ... below n, and n."""
    return [*(1 << power for power in range((n - 1).bit_length())), n]


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """10th, 50th and 90th percentile and maximum of `lengths`, without interpolation."""
    shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0}
    values = np.quantile(np.asarray(lengths), list(shares.values()), method="inverted_cdf")
    return dict(zip(shares, map(int, values), strict=True))


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
