"""`hpt compare --equal`: an arm counts with what it had reached when it had spent as much as the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.tracking.comparison.equal_budgets import Budget, equal_table, spending

PER_STEP = {
    "thrifty": {"flops": 100.0, "tokens/generated": 5.0, "tokens/trained": 10.0},
    "costly": {"flops": 300.0, "tokens/generated": 10.0, "tokens/trained": 5.0},
}
"""What a step of each arm spends; the arm of many FLOPs trains on few tokens."""


@pytest.fixture
def runs(workspace: Path) -> dict[str, dict[int, Any]]:
    """Arm -> seed -> a run of six steps in MLflow, measured on the dev prompts after every second one."""
    from pipelines.tracking.mlflow_store import Store

    store = Store(workspace, "toy")
    made: dict[str, dict[int, Any]] = {}
    for arm, spends in PER_STEP.items():
        for seed in (7, 8):
            run = store.create(f"{arm} {seed}", {})
            made.setdefault(arm, {})[seed] = run
            for step in range(1, 7):
                for metric, amount in spends.items():
                    store.client.log_metric(run.info.run_id, metric, step * amount, step=step)
                if step % 2 == 0:
                    accuracy = step / 10 + (seed - 7) / 100
                    store.client.log_metric(run.info.run_id, "dev/accuracy", accuracy, step=step)
    return made


def row(workspace: Path, runs: dict[str, dict[int, Any]], budget: Budget) -> dict[str, str]:
    """Arm -> its row of the table; the title is under `dev`."""
    from pipelines.tracking.mlflow_store import Store

    store, console = Store(workspace, "toy"), Console(width=120)
    spent = {
        arm: {seed: spending(store, run, budget) for seed, run in of.items()} for arm, of in runs.items()
    }
    with console.capture() as captured:
        console.print(equal_table(spent, budget))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    return {line.split()[0]: line for line in lines if line}


def test_at_equal_flops_the_costly_arm_counts_where_it_was_then(
    workspace: Path, runs: dict[str, dict[int, Any]]
) -> None:
    rows = row(workspace, runs, Budget.FLOPS)
    assert rows["dev"] == "dev prompts at equal FLOPs: 600"
    assert rows["thrifty"] == "thrifty 60.5% 60.0 to 61.0 2 6 600"
    assert rows["costly"] == "costly 20.5% 20.0 to 21.0 2 2 1.8k"


def test_tokens_that_are_generated_and_trained_on_are_budgets_of_their_own(
    workspace: Path, runs: dict[str, dict[int, Any]]
) -> None:
    generated, trained = (row(workspace, runs, b) for b in (Budget.GENERATED_TOKENS, Budget.TRAINED_TOKENS))
    assert generated["dev"].endswith("generated tokens: 30") and trained["dev"].endswith("trained tokens: 30")
    assert generated["costly"] == "costly 20.5% 20.0 to 21.0 2 2 60"
    assert trained["thrifty"] == "thrifty 20.5% 20.0 to 21.0 2 2 60"


def test_at_equal_steps_both_count_with_their_end(workspace: Path, runs: dict[str, dict[int, Any]]) -> None:
    rows = row(workspace, runs, Budget.STEPS)
    assert rows["dev"] == "dev prompts at equal steps: 6"
    assert rows["costly"] == "costly 60.5% 60.0 to 61.0 2 6 6"


def test_an_arm_that_was_never_measured_in_time_has_no_number(
    workspace: Path, runs: dict[str, dict[int, Any]]
) -> None:
    from pipelines.tracking.mlflow_store import Store

    run = Store(workspace, "toy").create("short", {})
    Store(workspace, "toy").client.log_metric(run.info.run_id, "flops", 50.0, step=1)
    rows = row(workspace, {**runs, "short": {7: run}}, Budget.FLOPS)
    assert rows["short"] == rows["short"].split()[0] + " \u2013 \u2013 \u2013 \u2013 50"
    assert rows["costly"].startswith("costly \u2013")


def test_a_run_that_spent_nothing_of_it_is_no_budget(
    workspace: Path, runs: dict[str, dict[int, Any]]
) -> None:
    from pipelines.tracking.mlflow_store import Store

    runs["imitation"] = {7: Store(workspace, "toy").create("imitation", {})}
    with pytest.raises(InputError, match="imitation, seed 7: spent no FLOPs; choose another budget"):
        row(workspace, runs, Budget.FLOPS)


def test_another_budget_and_unpublished_arms_are_errors(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["compare", "--equal", "hours"]) == 2
    assert "choose one of steps, generated_tokens, trained_tokens, flops" in capsys.readouterr().err
    assert main.main(["compare", "--equal", "flops"]) == 2
    assert "not published; publish it with: hpt publish" in capsys.readouterr().err
