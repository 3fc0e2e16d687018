"""The record of training, in files from checkpoint to checkpoint: rollouts, gate decisions and metrics.

The plans of a step's updates decide which rows have a gradient, and the optimizer decides whether it steps.
`Decisions` collects both, and the record is written from it alone, so that it cannot differ from what was
trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from hpt_core import tables
from hpt_core.files import read_json_lines
from hpt_core.gate import Route, route
from hpt_core.policy.batching import TrainingRow
from hpt_core.rollout.group import Group, rollout_row
from hpt_core.tables import GateRow
from hpt_core.upge import Plan

TABLES = {"rollouts": tables.TRAINING_ROLLOUTS, "gate": tables.GATE}
REMEDY = "remove the checkpoints of this run to train from the start"


@dataclass(frozen=True)
class RowDecision:
    """What a plan decided about one row, and what the optimizer made of it."""

    row: TrainingRow
    active: bool
    """The estimator gives it a gradient."""
    kept: bool
    no_expert: bool
    trained: bool
    """It had a gradient (of the estimator or of a regulariser) in an update that the optimizer took."""

    @property
    def demonstration(self) -> bool:
        return self.row.kind is not None


class Decisions:
    """The decisions of all updates of one step, by prompt."""

    def __init__(self) -> None:
        self.by_prompt: dict[str, list[RowDecision]] = {}

    def add(self, rows: Sequence[TrainingRow], plan: Plan, needed: Tensor, *, stepped: bool) -> None:
        """Add the decisions of one update. needed [B] bool: the row has a gradient. stepped: the optimizer
        stepped.
        """
        flags = zip(*(f.tolist() for f in (plan.active, plan.kept, plan.no_expert, needed)), strict=True)
        for row, (active, kept, no_expert, has_gradient) in zip(rows, flags, strict=True):
            decision = RowDecision(row, active, kept, no_expert, trained=has_gradient and stepped)
            self.by_prompt.setdefault(row.prompt_id, []).append(decision)

    def route(self, prompt_id: str, *, sampled: bool = False) -> Route:
        """The route of a prompt. One without rows was replaced, if it was `sampled`: its rewards are all
        equal. Else it has no rollouts and lacks the demonstration to imitate.
        """
        decisions = self.by_prompt.get(prompt_id, [])
        if sampled and not decisions:
            return "equal"
        return route(
            rollouts=any(decision.active and not decision.demonstration for decision in decisions),
            demonstration=any(decision.active and decision.demonstration for decision in decisions),
            kept=any(decision.kept for decision in decisions),
            no_expert=not decisions or any(decision.no_expert for decision in decisions),
        )

    def trained_samples(self, prompt_id: str) -> set[int]:
        """Numbers of the prompt's rollouts that were trained on."""
        decisions = self.by_prompt.get(prompt_id, [])
        return {
            decision.row.sample for decision in decisions if decision.trained and not decision.demonstration
        }

    def demonstration_trained(self, prompt_id: str) -> bool:
        return any(d.trained and d.demonstration for d in self.by_prompt.get(prompt_id, []))

    def rollout_rows(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """Rows of `tables.TRAINING_ROLLOUTS`."""
        rows = []
        for group in groups:
            trained = self.trained_samples(group.task.prompt.prompt_id)
            rows += [rollout_row(r) | {"trained": r.sample in trained} for r in group.rollouts]
        return rows

    def gate_rows(self, groups: Sequence[Group], step: int) -> list[GateRow]:
        """The prompts of the step, then those that came out of ReLIFT's buffer."""
        rows = [self._gate_row(group, step) for group in groups]
        sampled = {row["prompt_id"] for row in rows}
        for prompt_id, decisions in self.by_prompt.items():
            if prompt_id not in sampled:
                [decision] = decisions
                rows.append(
                    {
                        "step": step,
                        "prompt_id": prompt_id,
                        "pass_rate": None,
                        "route": self.route(prompt_id),
                        "trajectory_id": decision.row.trajectory_id,
                        "kind": decision.row.kind,
                        "source": decision.row.source,
                        "trained": decision.trained,
                    }
                )
        return rows

    def _gate_row(self, group: Group, step: int) -> GateRow:
        prompt_id, expert = group.task.prompt.prompt_id, group.task.expert
        return {
            "step": step,
            "prompt_id": prompt_id,
            "pass_rate": group.pass_rate if group.rewards else None,
            "route": self.route(prompt_id, sampled=bool(group.rollouts)),
            "trajectory_id": expert.trajectory_id if expert else None,
            "kind": expert.kind if expert else None,
            "source": expert.source if expert else None,
            "trained": self.demonstration_trained(prompt_id),
        }


@dataclass
class Records:
    """Rows of the steps since the last checkpoint."""

    rollouts: list[dict[str, Any]] = field(default_factory=list)
    gate: list[GateRow] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)

    def moved(self) -> Records:
        """The rows in records of their own; none are left here."""
        moved = Records(self.rollouts, self.gate, self.metrics)
        self.rollouts, self.gate, self.metrics = [], [], []
        return moved

    def write(self, folder: Path) -> None:
        for name, schema in TABLES.items():
            tables.write(folder / f"{name}.parquet", getattr(self, name), schema)
        lines = [json.dumps(row) for row in self.metrics]
        (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    yield from tables.read(folder / f"{table}.parquet", remedy=REMEDY)


def metrics(folder: Path) -> list[dict[str, float]]:
    return read_json_lines(folder / "metrics.jsonl", REMEDY)


def counts(folder: Path) -> dict[str, int]:
    """Rows of each file, without reading the tables. Raises InputError for one that is damaged."""
    of_tables = {name: tables.count_rows(folder / f"{name}.parquet", REMEDY) for name in TABLES}
    return {**of_tables, "metrics": len(metrics(folder))}
