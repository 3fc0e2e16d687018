"""Rollouts drawn ahead (`rollout.lag`): which weights draw which step's, whatever the timing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Fickle, Lagging, Sink, run_of

from hpt_core.config import DynamicSamplingConfig
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.storage.run_folder import WAITING

STEPS = 6


@pytest.fixture
def tasks(make_group: Callable[..., Group]) -> list[Task]:
    return [make_group(f"{i} + {i}", [0], "human" if i % 3 else None).task for i in range(10)]


def lagging(
    policy: LoadedPolicy, tasks: list[Task], lag: int, name: str = "hpt", **changes: Any
) -> TrainContext:
    run = run_of(policy, tasks, name, steps=STEPS, **changes)
    return replace(run, rollout=run.rollout.model_copy(update={"lag": lag}))


class Outcome:
    """Weights, records and metrics of a run that is over."""

    def __init__(self, run: TrainContext, checkpoints: Checkpoints) -> None:
        self.weights = {name: p.detach().clone() for name, p in run.policy.model.named_parameters()}
        self.rollouts = list(checkpoints.rows("rollouts", STEPS))
        self.gate = list(checkpoints.rows("gate", STEPS))
        self.metrics = checkpoints.metrics(STEPS)

    def drawn_by(self) -> list[str]:
        """The weights that drew the rollouts of each step."""
        by_step: dict[int, set[str]] = {}
        for row in self.rollouts:
            by_step.setdefault(row["step"], set()).add(row["policy"])
        assert all(len(names) == 1 for names in by_step.values())
        return [next(iter(by_step[step])) for step in sorted(by_step)]


def outcome(run: TrainContext, folder: Path) -> Outcome:
    checkpoints = Checkpoints(folder, "f")
    train(run, checkpoints, Sink())
    return Outcome(run, checkpoints)


def assert_same(found: Outcome, expected: Outcome) -> None:
    assert found.rollouts == expected.rollouts and found.gate == expected.gate
    assert all(torch.equal(found.weights[name], value) for name, value in expected.weights.items())


@pytest.mark.parametrize("lag", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_lag_is_a_serial_run_whose_sampler_has_old_weights(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, lag: int
) -> None:
    """The reference samples each step when it is due, from an engine that loads weights `lag` steps late."""
    found = outcome(lagging(policy, tasks, lag), tmp_path / "queue")
    serial = run_of(policy, tasks, "hpt", steps=STEPS, max_staleness=lag)
    copied = policy._replace(model=copy.deepcopy(policy.model))
    serial = replace(serial, engine=Lagging(HFEngine(copied), lag))
    expected = outcome(serial, tmp_path / "serial")
    assert_same(found, expected)
    assert [row["staleness"] for row in found.metrics] == [min(step, lag) for step in range(STEPS)]
    # The dev prompts are solved by the newest weights here, by the engine's old ones there.
    assert [without_dev(row) for row in found.metrics] == [without_dev(row) for row in expected.metrics]
    on_policy = outcome(run_of(policy, tasks, "hpt", steps=STEPS), tmp_path / "on_policy")
    per_step = len(found.rollouts) // STEPS
    assert on_policy.rollouts[:per_step] == found.rollouts[:per_step]
    assert on_policy.rollouts != found.rollouts


def without_dev(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("dev/")}


class Killed(Sink):
    """Ends the run in a step, as a signal does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.step:
            raise KeyboardInterrupt


DYNAMIC = {"dynamic_sampling": DynamicSamplingConfig(rounds=3), "updates_per_step": 1, "prompts_per_step": 4}
PHASES = {
    "phases": [
        {"algorithm": "dr_grpo", "until": {"steps": 3}},
        {"algorithm": "grpo"},
    ]
}


@pytest.mark.parametrize(
    ("killed", "name", "changes"),
    [
        pytest.param(1, "hpt", {}, marks=pytest.mark.slow),
        (5, "hpt", {}),
        pytest.param(3, "uft", {}, marks=pytest.mark.slow),
        (3, "dapo", DYNAMIC),
        (3, "hpt", PHASES),
        pytest.param(5, "hpt", PHASES, marks=pytest.mark.slow),
    ],
    ids=["before a checkpoint", "hpt", "hints", "dynamic sampling", "phase that ends", "second phase"],
)
def test_rollouts_in_flight_at_a_kill_are_trained_on_once(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, killed: int, name: str, changes: dict[str, Any]
) -> None:
    expected = outcome(lagging(policy, tasks, 2, name, **changes), tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        train(lagging(policy, tasks, 2, name, **changes), Checkpoints(tmp_path / "c", "f"), Killed(killed))
    resumed = outcome(lagging(policy, tasks, 2, name, **changes), tmp_path / "c")
    assert_same(resumed, expected)
    assert resumed.metrics == expected.metrics


def test_a_phase_begins_with_rollouts_of_its_own(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    names = outcome(lagging(policy, tasks, 1, "hpt", **PHASES), tmp_path).drawn_by()
    first, second = names[:3], names[3:]
    for phase in (first, second):
        assert phase[0] == phase[1] != phase[2], "the weights at its start draw two steps"
    assert not set(first) & set(second)


def test_nothing_is_drawn_for_steps_that_do_not_come(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    run = lagging(policy, tasks, 4, dev_every=STEPS)
    train(run, checkpoints := Checkpoints(tmp_path, "f"), Sink())
    assert isinstance(run.verifier, Fickle)
    assert len(run.verifier.heard) == len(list(checkpoints.rows("rollouts", STEPS))) + len(run.dev)
    assert not list(tmp_path.rglob(WAITING)), "the last checkpoint has no step after it"
