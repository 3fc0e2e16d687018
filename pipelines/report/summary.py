"""The table at the end of a run: what came out for the base policy and each arm, and what it took."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.report import words
from pipelines.report.results import BASE, read_json

NONE = "\u2013"
CAPTION = Text("* difference from base detected (corrected p < 0.05)\ntokens: generated + trained on")


def table(root: Path = Path(".")) -> Table:
    """A row for the base policy and each arm, a block for each benchmark, from metrics/compare.json.

    Raises InputError where it is missing.
    """
    comparison = read_json(root / "metrics/compare.json", "compare")
    benchmarks: dict[str, Any] = comparison["benchmarks"]
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=_title(benchmarks), caption=CAPTION)
    result.title_justify = result.caption_justify = "left"
    result.add_column("policy", overflow="ellipsis", max_width=10, no_wrap=True)
    if len(benchmarks) > 1:
        result.add_column("benchmark", overflow="ellipsis", max_width=10, no_wrap=True)
    for heading in ("accuracy", "95% interval", "gain", "offline", "tokens", "seconds"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name, entry in benchmarks.items():
        for policy in (BASE, *comparison["arms"]):
            where = [Text(name)] if len(benchmarks) > 1 else []
            result.add_row(Text(policy), *where, *_accuracy(entry, policy), *_cost(root, comparison, policy))
        result.add_section()
    return result


def print_summary(console: Console, root: Path = Path(".")) -> None:
    """The table, then the verdicts on the arms, in words."""
    comparison = read_json(root / "metrics/compare.json", "compare")
    console.print(table(root))
    for entry in comparison["benchmarks"].values():
        for result in entry["pairs"] or entry["gain"].values():
            console.print(Text(result["verdict"]))


def _title(benchmarks: dict[str, Any]) -> Text:
    sizes = [
        f"{name}: {entry['accuracy'][BASE]['n_prompts']} prompts x {entry['accuracy'][BASE]['k']}"
        for name, entry in benchmarks.items()
    ]
    return Text("; ".join(sizes))


def _accuracy(entry: dict[str, Any], policy: str) -> list[Text]:
    one = entry["accuracy"][policy]
    cells = [Text(words.percent(one["avg_at_k"]), style="bold"), Text(words.interval(one["ci95"]))]
    if policy not in entry["gain"]:
        return [*cells, Text(NONE)]
    gain = entry["gain"][policy]
    # A star as well as a colour, so that it survives a terminal or a log without colours.
    style = ("green" if gain["difference"] > 0 else "red") if gain["detected"] else ""
    return [*cells, Text(words.signed(gain["difference"]) + ("*" if gain["detected"] else " "), style=style)]


def _cost(root: Path, comparison: dict[str, Any], policy: str) -> list[str]:
    """Offline share, tokens generated and trained on together, and seconds of training."""
    if policy == BASE:
        return [NONE, NONE, NONE]
    training = comparison["training"][policy]
    tokens = words.count(training["tokens_generated"] + training["tokens_trained"])
    return [words.percent(training["offline_share"]), tokens, _seconds(root, policy)]


def _seconds(root: Path, arm: str) -> str:
    """Of the training that gave the present result; `cached` where that ran elsewhere or was restored."""
    timing, result = root / f"logs/timings/train@{arm}.json", root / f"metrics/train/{arm}.jsonl"
    if not (timing.is_file() and result.is_file()):
        return "cached"
    taken = read_json(timing, f"train@{arm}")
    return (
        f"{taken['seconds']:.0f}" if taken.get("result") == md5(result.read_bytes()).hexdigest() else "cached"
    )
