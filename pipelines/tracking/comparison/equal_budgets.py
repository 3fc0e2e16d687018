"""`hpt compare --equal BUDGET`: how good each arm was on the dev prompts once all had spent the same.

Arms of one length end at different totals of tokens and operations, so that a comparison of what they came to
compares their budgets too. Here each arm and seed counts with its last accuracy on the dev prompts before it
had spent more than the one that spent least had spent in all. No benchmark has scores along the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.params import load_params
from pipelines.report import words
from pipelines.report.summary import empty_table
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.comparison.seeds import runs_by_seed
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Run, Store

ACCURACY = "dev/accuracy"


class Budget(StrEnum):
    """What is equal. docs/algorithms.md says how tokens and operations are counted."""

    STEPS = "steps"
    GENERATED_TOKENS = "generated_tokens"
    TRAINED_TOKENS = "trained_tokens"
    FLOPS = "flops"


METRICS = {
    Budget.STEPS: "flops",
    Budget.GENERATED_TOKENS: "tokens/generated",
    Budget.TRAINED_TOKENS: "tokens/trained",
    Budget.FLOPS: "flops",
}
"""Budget -> the metric that adds it up; of steps, one that every step has."""


TITLES = {
    Budget.STEPS: "steps",
    Budget.GENERATED_TOKENS: "generated tokens",
    Budget.TRAINED_TOKENS: "trained tokens",
    Budget.FLOPS: "FLOPs",
}


def named(name: str) -> Budget:
    """The budget of this name. Raises InputError where there is none."""
    try:
        return Budget(name)
    except ValueError:
        raise InputError(f"--equal {name}: no such budget; choose one of {', '.join(Budget)}") from None


@dataclass(frozen=True)
class Measured:
    """A measurement on the dev prompts in the middle of training, or at its end."""

    step: int
    spent: float
    accuracy: float


@dataclass(frozen=True)
class Spending:
    """One arm with one seed."""

    total: float
    measured: Sequence[Measured]
    """In the order of the steps."""

    def within(self, budget: float) -> Measured | None:
        """The last measurement for which no more than `budget` had been spent."""
        within = [point for point in self.measured if point.spent <= budget]
        return within[-1] if within else None


def print_equal(console: Console, root: Path, budget: Budget) -> None:
    """Print the table. Raises InputError where no arm is published, TrackingError where MLflow fails."""
    params, lock = load_params(root / paths.PARAMS), dvc_lock.read_lock(root)
    arms = [arm for arm in params.arms if arm in run_data.trained_arms(root, lock)]
    with tracking_errors(root):
        store = Store(root, params.tracking.experiment)
        spendings = {
            arm: {seed: spending(store, run, budget) for seed, run in runs_by_seed(store, lock, arm).items()}
            for arm in arms
        }
    if not arms or not all(spendings.values()):
        lacking = ", ".join(arm for arm in arms if not spendings[arm]) or "every arm"
        raise InputError(f"{lacking}: not published; publish it with: hpt publish")
    console.print(equal_table(spendings, budget))


def spending(store: Store, run: Run, budget: Budget) -> Spending:
    """What a run spent, and what it had reached by then."""
    accuracies = store.client.get_metric_history(run.info.run_id, ACCURACY)
    sums = store.client.get_metric_history(run.info.run_id, METRICS[budget])
    spent = {p.step: float(p.step if budget is Budget.STEPS else p.value) for p in sums}
    points = (Measured(p.step, spent[p.step], float(p.value)) for p in accuracies if p.step in spent)
    return Spending(max(spent.values(), default=0.0), sorted(points, key=lambda point: point.step))


def equal_table(spendings: Mapping[str, Mapping[int, Spending]], budget: Budget) -> Table:
    """Arms at the least total of all, as mean and range over the seeds, with the earliest step that counts
    and the largest total of a seed.

    Raises InputError where an arm spent nothing of the budget.
    """
    for arm, by_seed in spendings.items():
        for seed, each in by_seed.items():
            if each.total <= 0:
                raise InputError(f"{arm}, seed {seed}: spent no {TITLES[budget]}; choose another budget")
    least = min(each.total for by_seed in spendings.values() for each in by_seed.values())
    table = empty_table(f"dev prompts at equal {TITLES[budget]}: {words.count(least)}")
    table.add_column("provenance", no_wrap=True)
    for heading in ("accuracy", "over seeds", "seeds", "step", "spent in all"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm, by_seed in spendings.items():
        reached = [point for each in by_seed.values() if (point := each.within(least)) is not None]
        table.add_row(Text(arm), *_cells(reached), words.count(max(each.total for each in by_seed.values())))
    return table


def _cells(reached: Sequence[Measured]) -> list[str]:
    """Mean accuracy, its range over the seeds, their number, and the step of the measurement."""
    if not reached:
        return [words.NONE] * 4
    accuracies = [point.accuracy for point in reached]
    spread = words.interval([min(accuracies), max(accuracies)]) if len(reached) > 1 else words.NONE
    mean, step = sum(accuracies) / len(reached), min(point.step for point in reached)
    return [words.percent(mean), spread, str(len(reached)), str(step)]
