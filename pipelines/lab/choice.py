"""The rates of each method: those with the best accuracy on the dev prompts, of the same number of trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.lab.cells import Cell


def chosen_rates(results: Mapping[Cell, Mapping[str, Any]]) -> dict[str, int]:
    """Method -> the number of its best trial, of the complete ones in `results`.

    The first of equal ones. A trial that had to end is worse than any other.
    """
    best: dict[str, tuple[float, int]] = {}
    for cell, result in results.items():
        assert cell.trial is not None
        accuracy = result.get("dev")
        rank = (-1.0 if accuracy is None else float(accuracy), -cell.trial)
        best[cell.method] = max(best.get(cell.method, rank), rank)
    return {method: -negated for method, (_, negated) in best.items()}
