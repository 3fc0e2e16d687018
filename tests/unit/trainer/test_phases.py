"""Phases and budgets: what ends them, what each trains with, and that a resumed run is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from small_run import Sink, run_of

from hpt_core.config import BudgetConfig, OptimizerConfig, PlateauConfig, TrainConfig
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer import rollout_queue
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.throughput import flops, forward_flops
from hpt_core.trainer.phases.plateau import reached
from hpt_core.trainer.phases.schedule import Schedule

PHASES: list[dict[str, Any]] = [
    {"algorithm": "sft", "until": 2, "optimizer": {"lr": 2e-3}},
    {"algorithm": "relift", "until": {"steps": 3}, "updates_per_step": 1, "sft_buffer": 2},
    {"algorithm": "ppo", "optimizer": {"name": "muon", "lr": 1e-3, "matrix_lr": 1e-2}, "warmup_steps": 2},
]


def config(**keys: Any) -> TrainConfig:
    optimizer = {"name": "muon", "lr": 0.1, "matrix_lr": 0.5}
    return TrainConfig.model_validate({"steps": 10, "prompts_per_step": 4, "optimizer": optimizer} | keys)


def row(step: int, **changes: float) -> dict[str, float]:
    amounts = {"tokens/generated": 10.0 * step, "tokens/trained": 5.0 * step, "flops": 1e3 * step}
    return {"step": step, **amounts, **changes}


def numbers(schedule: Schedule, rows: Callable[[int], Mapping[str, float]]) -> list[int]:
    """The number of the phase of each step."""
    phases = []
    while not schedule.over:
        phases.append(schedule.phase.number)
        schedule.observe(rows(schedule.step))
    return phases


@pytest.mark.parametrize(
    ("values", "change", "ends_at"),
    [
        ([3.0, 2.0, 1.0, 1.0, 1.0, 0.5], 0.0, 5),  # two in a row that are no better
        ([3.0, 2.0, 2.5, 1.9, 2.2, 1.95], 0.0, 6),  # one that is worse, and an improvement after it
        ([3.0, 2.95, 2.91, 2.0], 0.1, 3),  # better, and by too little against the best before
        ([3.0, 2.95, 2.85, 2.8, 2.79], 0.1, 5),  # slow, with an improvement after two
        ([3.0, 2.0, 1.0], 0.0, None),
        ([1.0, 2.0], 0.0, None),
    ],
)
def test_a_plateau_is_patience_without_an_improvement(
    values: list[float], change: float, ends_at: int | None
) -> None:
    nll = PlateauConfig(metric="nll", patience=2, min_change=change)
    accuracy = nll.model_copy(update={"metric": "accuracy"})
    for rule, sign in ((nll, 1), (accuracy, -1)):
        seen = [[sign * value for value in values[:upto]] for upto in range(1, len(values) + 1)]
        assert next((len(part) for part in seen if reached(part, rule)), None) == ends_at


@pytest.mark.parametrize(
    ("until", "length"),
    [
        (3, 3),
        ({"steps": 3}, 3),
        ({"generated_tokens": 35}, 4),
        ({"trained_tokens": 10}, 2),
        ({"flops": 5e3, "steps": 7}, 5),
        ("plateau", 28),  # measured at its steps 10 and 20, and its patience is 2
        ({"plateau": {"every": 1, "patience": 1}}, 4),
        ({"plateau": {"every": 2, "patience": 1}}, 6),
        ({"plateau": {"metric": "accuracy", "patience": 1}}, 6),
    ],
)
def test_what_ends_a_phase_counts_from_its_first_step(until: object, length: int) -> None:
    """After a phase of 2 steps. The NLL falls until step 5; every fourth step has the same accuracy."""
    phases = [{"algorithm": "grpo", "until": 2}, {"algorithm": "sft", "until": until}, {}]
    schedule = Schedule.of(config(steps=30, phases=phases))

    def measured(step: int) -> dict[str, float]:
        nll = {"held_out/nll": max(0.0, 5.0 - step)} if schedule.nll_is_due else {}
        return row(step, **nll, **({"dev/accuracy": 0.5} if step % 4 == 0 else {}))

    assert numbers(schedule, measured) == [1] * 2 + [2] * length + [3] * (28 - length)


def test_the_rates_of_a_phase_count_its_own_steps() -> None:
    asked = config(
        cooldown_steps=2,
        phases=[
            {"algorithm": "sft", "until": 4, "warmup_steps": 2},
            {"optimizer": {"lr": 0.2}, "cooldown_steps": 3},
        ],
    )
    schedule, factors = Schedule.of(asked), []
    while not schedule.over:
        factors.append(schedule.rate_factor())
        schedule.observe(row(schedule.step))
    assert factors == pytest.approx([0.5, 1, 1, 0.5, 1, 1, 1, 1, 2 / 3, 1 / 3])
    first, second = asked.per_phase
    assert (first.algorithm, first.optimizer, first.cooldown_steps) == ("sft", asked.optimizer, 2)
    assert (second.algorithm, second.warmup_steps, second.phases) == ("hpt", 0, None)
    assert second.optimizer == OptimizerConfig(name="muon", lr=0.2, matrix_lr=0.5), "a key alone is replaced"


def test_methods_of_rollouts_alone_have_a_tenth_of_the_rates_unless_a_factor_is_given() -> None:
    phases = [
        {"algorithm": "sft", "until": 1},
        {"algorithm": "dr_grpo", "until": 1},
        {"algorithm": "grpo", "until": 1, "rate_scale": 0.5},
        {"algorithm": "luffy"},
    ]
    schedule, factors = Schedule.of(config(steps=4, phases=phases)), []
    while not schedule.over:
        factors.append(schedule.rate_factor())
        schedule.observe(row(schedule.step))
    assert factors == pytest.approx([1, 0.1, 0.5, 1])


def test_rates_fall_towards_the_end_of_a_budget() -> None:
    """A cool-down of 5 of 10 steps is half of the budget, which 4 steps spend."""
    schedule, factors = Schedule.of(config(cooldown_steps=5, budget={"flops": 4e3})), []
    while not schedule.over:
        factors.append(schedule.rate_factor())
        schedule.observe(row(schedule.step))
    assert factors == pytest.approx([1, 1, 1, 0.5])


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"algorithm": "sft"}, {}], "the next phase would never start; give until"),
        ([{"algorithm": "sft", "until": {}}, {}], "the next phase would never start"),
        ([{"until": "plato"}], "'plato' is no end of a phase; give plateau, a number of steps, or a mapping"),
        ([{"until": 0}], "greater than 0"),
        ([{"algorithm": "sft", "clip_ratio_c": 3.0}], "sft does not read it"),
        ([{"steps": 3}], "Extra inputs"),
        ([], "at least 1 item"),
    ],
)
def test_phases_that_cannot_be_meant_are_refused(phases: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(phases=phases)


def phased(policy: LoadedPolicy, tasks: list[Task], steps: int = 7, **changes: Any) -> Any:
    return run_of(policy, tasks, "hpt", steps=steps, mu=None, **{"phases": PHASES} | changes)


def metrics_of(checkpoints: Checkpoints) -> str:
    return json.dumps(checkpoints.metrics(10**6))


def test_resumed_anywhere_a_run_of_phases_is_the_same(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    """Cut in each phase and at each border; a phase may need a buffer, a value head, another optimizer."""
    whole, sink = phased(policy, tasks), Sink()
    kept = Checkpoints(tmp_path / "whole", "f")
    train(whole, kept, sink)
    assert [metrics["phase"] for metrics in sink.steps.values()] == [1, 1, 2, 2, 2, 3, 3]
    assert [metrics["lr"] for metrics in sink.steps.values()] == pytest.approx(
        [2e-3] * 2 + [3e-3] * 3 + [5e-4, 1e-3]
    )
    assert ["value/error" in metrics for metrics in sink.steps.values()] == [False] * 5 + [True] * 2
    assert ["reward/mean" in metrics for metrics in sink.steps.values()] == [False] * 2 + [True] * 5
    expected, record = weights_hash(whole.policy.model), metrics_of(kept)
    for cut in (1, 2, 4, 5, 6):
        part = phased(policy, tasks, checkpoint_every=1)
        with pytest.raises(KeyboardInterrupt):
            train(part, Checkpoints(tmp_path / str(cut), "f"), Until(cut))
        again, checkpoints = phased(policy, tasks), Checkpoints(tmp_path / str(cut), "f")
        train(again, checkpoints, Sink())
        assert weights_hash(again.policy.model) == expected, f"cut after step {cut}"
        assert metrics_of(checkpoints) == record


class Until(Sink):
    """Interrupts the run in the step after `cut`, so that the newest checkpoint is that of `cut`."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        self.cut = cut

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step > self.cut:
            raise KeyboardInterrupt


def test_a_phase_is_the_run_that_starts_from_the_weights_before(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    """AdamW's second step has moments of the first; new moments give another step for the same gradient."""
    keys = {"steps": 2, "updates_per_step": 1}
    phases = [{"algorithm": "sft", "until": 1}, {"algorithm": "sft"}]
    both, alone = phased(policy, tasks, phases=phases, **keys), run_of(policy, tasks, "sft", **keys)
    train(both, Checkpoints(tmp_path / "both", "f"), sink := Sink())
    train(alone, Checkpoints(tmp_path / "alone", "f"), other := Sink())
    assert sink.steps[1]["grad_norm"] == other.steps[1]["grad_norm"]
    assert sink.steps[2]["grad_norm"] == other.steps[2]["grad_norm"]
    assert weights_hash(both.policy.model) != weights_hash(alone.policy.model)


def test_a_plateau_of_the_nll_holds_demonstrations_out(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    until = {"plateau": {"every": 1, "patience": 1, "min_change": 100.0}}
    run = phased(policy, tasks, steps=4, phases=[{"algorithm": "sft", "until": until}, {"algorithm": "grpo"}])
    train(run, checkpoints := Checkpoints(tmp_path, "f"), sink := Sink())
    assert [metrics["phase"] for metrics in sink.steps.values()] == [1, 1, 2, 2]
    assert ["held_out/nll" in metrics for metrics in sink.steps.values()] == [True, True, False, False]
    trained = {row["prompt_id"] for row in checkpoints.rows("gate", 4)}
    [held_out] = {task.prompt.prompt_id for task in tasks} - trained
    assert next(task for task in tasks if task.prompt.prompt_id == held_out).demonstration
    one = [task for task in tasks if not task.demonstration] + [next(t for t in tasks if t.demonstration)]
    with pytest.raises(InputError, match=r"held-out demonstrations, and 1 training prompts have one; choose"):
        train(replace(run, tasks=one), Checkpoints(tmp_path / "one", "f"), Sink())


@pytest.mark.parametrize("limit", ["generated_tokens", "trained_tokens", "flops"])
def test_a_budget_ends_the_run_and_its_last_step_is_whole(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, limit: str
) -> None:
    name = {"generated_tokens": "tokens/generated", "trained_tokens": "tokens/trained", "flops": "flops"}[
        limit
    ]
    train(run_of(policy, tasks, "grpo", steps=6), Checkpoints(tmp_path / "free", "f"), free := Sink())
    spent = [metrics[name] for metrics in free.steps.values()]
    assert spent == sorted(spent) and spent[1] > spent[0] > 0
    budget = BudgetConfig.model_validate({limit: float(spent[2]) if limit == "flops" else int(spent[2])})
    limited = run_of(policy, tasks, "grpo", steps=6, budget=budget)
    train(limited, checkpoints := Checkpoints(tmp_path / "limited", "f"), sink := Sink())
    assert list(sink.steps) == [1, 2, 3]
    assert "dev/accuracy" in sink.steps[3] and "source/s/nll_after" in sink.steps[3]
    assert [row[name] for row in checkpoints.metrics(6)] == spent[:3]
    # A run that was killed after its last checkpoint, before its outputs were written, has no step left.
    train(run_of(policy, tasks, "grpo", steps=6, budget=budget), checkpoints, again := Sink())
    assert again.steps == {}


def test_flops_are_those_of_sampling_and_of_updates(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one step by hand: a forward pass of each rollout with its prompt, three of each trained row."""
    groups: list[Group] = []
    real = rollout_queue.sample_groups
    monkeypatch.setattr(rollout_queue, "sample_groups", lambda *args: groups.extend(real(*args)) or groups)
    run = run_of(policy, tasks, "reinforce", steps=1)
    train(run, Checkpoints(tmp_path, "f"), sink := Sink())
    rows = [
        (len(group.task.tokens) + len(rollout.completion.token_ids), rollout.reward)
        for group in groups
        for rollout in group.rollouts
    ]
    model = run.policy.model
    sampled = forward_flops(model, [length for length, _ in rows])
    trained = flops(model, [length for length, reward in rows if reward])
    assert trained > 0
    assert sink.steps[1]["flops"] == pytest.approx(sampled + trained, rel=1e-12)
