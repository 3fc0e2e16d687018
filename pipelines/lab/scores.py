"""The scores of a complete cell: its share of right responses to each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpt_core.evaluation import Flags
from hpt_core.significance import Reals
from pipelines.lab.cells import Cell

FAILED = "failed"
"""Key of a result that says why the training of a cell had to end; such a cell has no other results."""
Results = Mapping[Cell, Mapping[str, Any]]


def scores(result: Mapping[str, Any], name: str) -> Reals:
    """The share of right responses to each prompt of a benchmark, in the order of the prompts' names."""
    k: int = result["k"][name]
    return _counts(result, name) / k


def flags(result: Mapping[str, Any], name: str) -> Flags:
    """Right responses [P, k]; which of the k they are does not matter to pass@k."""
    found: Flags = np.arange(result["k"][name]) < _counts(result, name)[:, None]
    return found


def matching(results: Results, **names: object) -> Results:
    """The results of the cells that have these names."""
    return {
        cell: result
        for cell, result in results.items()
        if all(getattr(cell, key) == value for key, value in names.items())
    }


def _counts(result: Mapping[str, Any], name: str) -> Reals:
    solved = result["solved"][name]
    return np.array([solved[prompt] for prompt in sorted(solved)], dtype=np.float64)
