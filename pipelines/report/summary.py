"""The table at the end of a run: the results of the base policy and each arm, and their cost."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.errors import InputError
from hpt_core.files import read_json
from pipelines import paths
from pipelines.report import words
from pipelines.report.comparison_file import BenchmarkComparison, Comparison, read_comparison
from pipelines.report.comparisons import results
from pipelines.report.results import BASE

CAPTION = Text(
    "* difference from base detected (corrected p < 0.05)\n"
    "tokens: generated + trained on\n"
    "one training seed: another one moves the arms too (hpt compare)"
)


def empty_table(title: str | Text | None) -> Table:
    """A table without columns, in the style of all tables that `hpt` prints."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")


def table(root: Path = Path(".")) -> Table:
    """A row for the base policy and each arm, a block for each benchmark, from metrics/compare.json.

    Raises InputError where it is missing.
    """
    comparison = read_comparison(root)
    benchmarks = comparison["benchmarks"]
    result = empty_table(_title(benchmarks))
    result.caption, result.caption_justify = CAPTION, "left"
    result.add_column("policy", overflow="ellipsis", max_width=10, no_wrap=True)
    if len(benchmarks) > 1:
        result.add_column("benchmark", overflow="ellipsis", max_width=10, no_wrap=True)
    for heading in ("accuracy", "95% interval", "gain", "offline", "tokens", "seconds"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name, entry in benchmarks.items():
        for policy in (BASE, *comparison["arms"]):
            benchmark = [Text(name)] if len(benchmarks) > 1 else []
            cells: list[Text | str] = [*_accuracy(entry, policy), *_cost(root, comparison, policy)]
            result.add_row(Text(policy), *benchmark, *cells)
        result.add_section()
    return result


def print_summary(console: Console, root: Path = Path(".")) -> None:
    """The table, then the verdicts on the arms and what a reader must know of them.

    Raises InputError where nothing was compared yet.
    """
    if not (root / paths.COMPARISON).is_file():
        raise InputError(f"{paths.COMPARISON} is not there: nothing was compared yet; run `hpt run`")
    comparison = read_comparison(root)
    console.print(table(root))
    for sentence in [*notes(comparison), *_verdicts(comparison), *_verifier(root)]:
        console.print(Text(sentence))


def _verdicts(comparison: Comparison) -> list[str]:
    sentences = [
        result["verdict"] for entry in comparison["benchmarks"].values() for result in results(entry)
    ]
    return [*sentences, words.SIGNS] if any(words.MINUS in sentence for sentence in sentences) else sentences


def notes(comparison: Comparison) -> list[str]:
    """Responses that were not judged or cut off, and arms with few demonstrations."""
    notes = []
    for name, entry in comparison["benchmarks"].items():
        for policy, accuracy in entry["accuracy"].items():
            if share := accuracy.get("unjudged"):
                notes.append(words.unjudged(share, name, policy))
            if accuracy["truncated"] > words.MANY:
                notes.append(words.cut_short(accuracy["truncated"], name, policy))
    for arm, training in comparison["training"].items():
        share = training.get("coverage")
        if share is not None and share < words.FEW:
            notes.append(words.covered(share, arm))
    return notes


def _verifier(root: Path) -> list[str]:
    """The error rates of the verifier on changed reference answers, all training sources together."""
    report = root / paths.PROMPTS_REPORT
    rates = read_json(report).get("verifier", {}) if report.is_file() else {}
    return [sentence] if (sentence := words.verifier_errors(rates.values())) else []


def _title(benchmarks: Mapping[str, BenchmarkComparison]) -> Text:
    sizes = [
        f"{name}: {entry['accuracy'][BASE]['n_prompts']} prompts x {entry['accuracy'][BASE]['k']}"
        for name, entry in benchmarks.items()
    ]
    return Text("; ".join(sizes))


def _accuracy(entry: BenchmarkComparison, policy: str) -> list[Text]:
    accuracy = entry["accuracy"][policy]
    cells = [Text(words.percent(accuracy["avg_at_k"]), style="bold"), Text(words.interval(accuracy["ci95"]))]
    if policy not in entry["gain"]:
        return [*cells, Text(words.NONE)]
    gain = entry["gain"][policy]
    # A star as well as a colour, so that it survives a terminal or a log without colours.
    style = ("green" if gain["difference"] > 0 else "red") if gain["detected"] else ""
    return [*cells, Text(words.signed(gain["difference"]) + ("*" if gain["detected"] else " "), style=style)]


def _cost(root: Path, comparison: Comparison, policy: str) -> list[str]:
    """Offline share, tokens generated and trained on together, and seconds of training."""
    if policy == BASE:
        return [words.NONE, words.NONE, words.NONE]
    training = comparison["training"][policy]
    tokens = words.count(training["tokens_generated"] + training["tokens_trained"])
    return [words.percent(training["offline_share"]), tokens, _seconds(root, policy)]


def _seconds(root: Path, arm: str) -> str:
    """Seconds of the training that gave the present result; `cached` where DVC restored the result."""
    timing, result = root / paths.timing(f"train@{arm}"), root / paths.training_metrics(arm)
    if not (timing.is_file() and result.is_file()):
        return "cached"
    timed = read_json(timing)
    if timed.get("result") != md5(result.read_bytes()).hexdigest():
        return "cached"
    return f"{timed['seconds']:.0f}"
