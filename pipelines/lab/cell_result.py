"""What a cell says once it is complete, from the files that the pipeline's stages wrote in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from hpt_core import tables
from hpt_core.files import read_json, read_steps
from pipelines import paths

POINTS = 50
"""Most points of a curve that are kept."""
CURVES = ("dev/accuracy", "reward/mean", "offline_share", "entropy", "response/length", "held_out/nll")
SPENT = {
    "steps": "step",
    "generated_tokens": "tokens/generated",
    "trained_tokens": "tokens/trained",
    "flops": "flops",
}
"""Amount -> its name in the metrics of a step."""


class CellResult(TypedDict):
    """The contents of result.json."""

    k: dict[str, int]
    """Benchmark -> responses to each prompt."""
    solved: dict[str, dict[str, int]]
    """Benchmark -> prompt -> responses that are right."""
    truncated: dict[str, float]
    """Benchmark -> share of the responses that reached the token limit."""
    spent: dict[str, float]
    """Amount -> what training spent; 0 without training."""
    dev: float | None
    """Accuracy on the dev prompts after the last step."""
    curves: dict[str, list[tuple[int, float]]]
    """Metric -> step and value, at most `POINTS` of them."""
    phases: list[int]
    """The last step of each phase; one entry where the run has no phases."""
    health: dict[str, int]
    """Rule that was broken -> the first step at which it was."""


def cell_result(folder: Path, policy: str) -> CellResult:
    """What the files in a cell's folder say about `policy`: an arm, or the base without training."""
    metrics = read_json(folder / paths.evaluation_metrics(policy))
    solved: dict[str, Counter[str]] = {name: Counter() for name in metrics}
    for row in tables.read(folder / paths.evaluation_responses(policy), tables.EVALUATION):
        solved[row["benchmark"]][row["prompt_id"]] += bool(row["correct"])
    log = folder / paths.training_metrics(policy)
    steps = read_steps(log) if log.exists() else []
    return {
        "k": {name: entry["k"] for name, entry in metrics.items()},
        "solved": {name: dict(counts) for name, counts in solved.items()},
        "truncated": {name: entry["truncated"] for name, entry in metrics.items()},
        "spent": {name: float(steps[-1][key]) if steps else 0.0 for name, key in SPENT.items()},
        "dev": steps[-1]["dev/accuracy"] if steps else None,
        "curves": {key: curve for key in CURVES if (curve := _curve(steps, key))},
        "phases": _ends_of_phases(steps),
        "health": _first_warnings(steps),
    }


def _curve(steps: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """Means of as many steps as needed for at most `POINTS` points, each at its last step."""
    points = [(int(row["step"]), float(row[key])) for row in steps if key in row]
    size = -(-len(points) // POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size or 1)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _ends_of_phases(steps: Sequence[Mapping[str, Any]]) -> list[int]:
    last = {row.get("phase", 1.0): int(row["step"]) for row in steps}
    return [last[number] for number in sorted(last)]


def _first_warnings(steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    first: dict[str, int] = {}
    for row in steps:
        for key in row:
            if key.startswith("health/"):
                first.setdefault(key.removeprefix("health/"), int(row["step"]))
    return first
