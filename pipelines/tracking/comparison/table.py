"""The tables that `hpt compare` prints: accuracy and gain of each policy, and the difference of each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from pipelines.report import words
from pipelines.report.comparison_file import (
    Accuracy,
    BenchmarkComparison,
    CorrectedDifference,
    Differences,
)
from pipelines.report.summary import empty_table


class PooledComparison(Differences):
    """All policies on one benchmark, over several seeds."""

    accuracy: Mapping[str, Accuracy]


BenchmarkTables = BenchmarkComparison | PooledComparison
"""All policies on one benchmark, over one seed or several."""


def comparison_tables(
    benchmark: str, entry: BenchmarkTables, seeds: Sequence[int], mixes: Mapping[str, Mapping[str, float]]
) -> Iterator[Table]:
    """The tables of one benchmark; mixes: arm -> expert kind or source -> weight."""
    yield _accuracy(benchmark, entry, seeds, mixes)
    yield _pairs(entry)


def _accuracy(
    benchmark: str, entry: BenchmarkTables, seeds: Sequence[int], mixes: Mapping[str, Mapping[str, float]]
) -> Table:
    n_prompts = next(iter(entry["accuracy"].values()))["n_prompts"]
    over = f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    table = empty_table(f"{benchmark}: {n_prompts} prompts, {over}")
    table.add_column("provenance", no_wrap=True)
    table.add_column("mix", overflow="fold")
    for heading in ("accuracy", "95% interval", "gain", "95% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for policy, accuracy in entry["accuracy"].items():
        mix = ", ".join(f"{kind} {share:g}" for kind, share in mixes.get(policy, {}).items()) or words.NONE
        cells = [words.percent(accuracy["avg_at_k"]), words.interval(accuracy["ci95"])]
        table.add_row(Text(policy), Text(mix), *cells, *_difference(entry["gain"].get(policy)))
    return table


def _pairs(entry: Differences) -> Table:
    table = empty_table(None)
    table.add_column("difference", overflow="fold")
    for heading in ("points", "95% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in entry["pairs"]:
        table.add_row(Text(f"{pair['a']} \u2212 {pair['b']}"), *_difference(pair))
    return table


def _difference(entry: CorrectedDifference | None) -> list[str]:
    """Points, interval and corrected p; a star marks a detected difference."""
    if entry is None:
        return [words.NONE, words.NONE, words.NONE]
    star = "*" if entry["detected"] else " "
    p = words.p_value(entry["p_holm"]).removeprefix("p = ").removeprefix("p ")
    return [words.signed(entry["difference"]) + star, words.interval(entry["ci95"]), p]
