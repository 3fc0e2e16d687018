"""The content of metrics/compare.json: its types and its reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from hpt_core.evaluation import BenchmarkResult
from hpt_core.files import read_json
from hpt_core.tables import SourceStatistics
from pipelines import paths


class Accuracy(TypedDict):
    """What every comparison reports of a policy on a benchmark; a `BenchmarkResult` has more of it."""

    avg_at_k: float
    ci95: list[float]
    n_prompts: int


class CorrectedDifference(TypedDict):
    """A `PairedDifference` whose p is corrected for the number of comparisons in its family."""

    difference: float
    ci95: list[float]
    p: float
    p_holm: float
    detected: bool
    """p_holm is below LEVEL, and the interval excludes 0."""


class Gain(CorrectedDifference):
    """An arm minus the base policy."""

    verdict: str


class PairOfArms(Gain):
    """Arm a minus arm b."""

    a: str
    b: str


class Differences(TypedDict):
    """The differences between the policies on one benchmark."""

    gain: dict[str, Gain]
    pairs: list[PairOfArms]


class SourceGain(TypedDict):
    """An arm minus the base policy on the prompts of one source; not corrected for the number of sources."""

    difference: float
    ci95: list[float]


class SourceAccuracy(TypedDict):
    """The prompts of one source, and each policy's accuracy on them."""

    n_prompts: int
    accuracy: dict[str, float]
    gain: NotRequired[dict[str, SourceGain]]
    """By arm; absent from files of older versions."""


class BenchmarkComparison(Differences):
    """An entry of `Comparison.benchmarks`."""

    accuracy: Mapping[str, BenchmarkResult]
    sources: dict[str, SourceAccuracy]
    headline: str


class TrainingSummary(TypedDict):
    """The training of one arm in totals."""

    steps: int
    offline_share: float
    tokens_generated: float
    tokens_trained: float
    demonstrations: dict[str, int]
    """Kind -> demonstrations that were trained on, each step counted."""
    routes: dict[str, int]
    revisited: dict[str, dict[str, int]]
    """First route -> last route -> prompts that occurred in more than one step."""
    sources: dict[str, SourceStatistics]
    skipped: float
    coverage: NotRequired[float | None]
    """Share of its prompts that have a demonstration of its mix; None without a prompt, absent from files of
    older versions."""


class Comparison(TypedDict):
    """The content of metrics/compare.json."""

    arms: list[str]
    benchmarks: dict[str, BenchmarkComparison]
    training: dict[str, TrainingSummary]
    verdicts: list[str]


def read_comparison(root: Path) -> Comparison:
    """The comparison of the project under `root`. Raises InputError where there is none."""
    return cast(Comparison, read_json(root / paths.COMPARISON))
