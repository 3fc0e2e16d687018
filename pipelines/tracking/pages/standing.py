"""Where a policy stands in a comparison: accuracy and gain with their intervals, in few digits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipelines.report import words
from pipelines.report.comparison_file import Comparison

COLOURS = ("#5b6670", "#0b62a8", "#b54708", "#00775a", "#8d3f86", "#7d6100", "#00687f")
"""Those of the policies in the report, from pipelines/report/templates/colours.css."""
COLOUR_TAG = "mlflow.runColor"
"""Tag of a run: its colour in MLflow's table and charts, which otherwise follows from its id."""


@dataclass(frozen=True)
class Standing:
    """The accuracy of a policy on each benchmark, and an arm's gain over the starting policy."""

    tags: dict[str, str] = field(default_factory=dict)
    """`accuracy.BENCHMARK` and `gain.BENCHMARK`: value and interval; a star marks a detected gain."""
    metrics: dict[str, float] = field(default_factory=dict)
    """`accuracy/BENCHMARK` in percent, `gain/BENCHMARK` and the ends of its interval in points."""


def standings(comparison: Comparison) -> dict[str, Standing]:
    """Policy -> where it stands in metrics/compare.json."""
    found: dict[str, Standing] = {}
    for benchmark, entry in comparison["benchmarks"].items():
        name = re.sub(r"[^\w\-. :]", "_", benchmark)
        for policy, accuracy in entry["accuracy"].items():
            standing = found.setdefault(policy, Standing())
            share, interval = accuracy["avg_at_k"], words.interval(accuracy["ci95"])
            standing.tags[f"accuracy.{name}"] = f"{words.percent(share)} ({interval})"
            standing.metrics[f"accuracy/{name}"] = round(100 * share, 1)
        for policy, gain in entry["gain"].items():
            star = "*" if gain["detected"] else ""
            points, interval = words.signed(gain["difference"]), words.interval(gain["ci95"])
            found[policy].tags[f"gain.{name}"] = f"{points}{star} ({interval})"
            low, high = gain["ci95"]
            for end, value in {"": gain["difference"], " ci95_low": low, " ci95_high": high}.items():
                found[policy].metrics[f"gain/{name}{end}"] = round(100 * value, 1)
    for style, standing in enumerate(found.values()):
        standing.tags[COLOUR_TAG] = COLOURS[style % len(COLOURS)]
    return found
