"""Every method of the table trains, and a resumed run gives the same weights."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Sink, last, run_of

from hpt_core.config import GateConfig, KLConfig, LoraConfig, OptimizerConfig
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.upge import ALGORITHMS

CORE = {"hpt", "sft", "dr_grpo", "chord_phi", "ppo", "relift", "luffy"}
"""Always tested: a gate between both losses, imitation alone, rewards alone, a sum of both losses, a value
head, a buffer, and demonstrations among the rollouts; the others with `make test-all`."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in CORE else [pytest.mark.slow]) for name in ALGORITHMS]
)
def test_trains_and_resumes(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, name: str) -> None:
    before, whole, sink = weights_hash(policy.model), run_of(policy, tasks, name), Sink()
    train(whole, Checkpoints(tmp_path / "whole", "f"), sink)
    assert weights_hash(whole.policy.model) != before
    assert all(isfinite(value) for metrics in sink.steps.values() for value in metrics.values())
    assert all(metrics["grad_norm"] > 0 for metrics in sink.steps.values())
    assert all(metrics["mfu"] > 0 for metrics in sink.steps.values())

    train(run_of(policy, tasks, name, steps=2), Checkpoints(tmp_path / "cut", "f"), Sink())
    again = run_of(policy, tasks, name)
    train(again, Checkpoints(tmp_path / "cut", "f"), Sink())
    assert weights_hash(again.policy.model) == weights_hash(whole.policy.model)


@pytest.mark.parametrize("name", ["sft", "dft", "psft", "trsft"])
def test_imitation_alone_samples_nothing(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, name: str
) -> None:
    run, checkpoints, sink = run_of(policy, tasks, name), Checkpoints(tmp_path, "f"), Sink()
    train(run, checkpoints, sink)
    assert list(checkpoints.rows("rollouts", 4)) == []
    assert sink.steps[4]["tokens/generated"] == 0 and "reward/mean" not in sink.steps[4]
    assert len(run.verifier.heard) == 1, "the dev prompt"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["sft", "dft", "psft", "trsft"])
def test_a_step_without_a_demonstration_is_counted_and_passed(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, name: str
) -> None:
    """One prompt a step, and every third has no demonstration; a run that stopped there would stop again."""
    keys = {"prompts_per_step": 1, "updates_per_step": 1, "steps": 6}
    checkpoints, sink = Checkpoints(tmp_path / "c", "f"), Sink()
    train(run_of(policy, tasks, name, **keys), checkpoints, sink)
    routes = [row["route"] for row in checkpoints.rows("gate", 6)]
    assert sorted(routes) == ["no_expert"] * 2 + ["sft"] * 4
    assert [sink.steps[step].get("empty") for step in range(1, 7)] == [
        1.0 if route == "no_expert" else None for route in routes
    ]


@pytest.mark.parametrize("name", ["sft", "dft", "psft", "trsft"])
def test_no_demonstration_at_all_stops_before_the_first_step(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, name: str
) -> None:
    bare = [task for task in tasks if not task.demonstration]
    with pytest.raises(InputError, match=rf"{name} imitates .* none of the 2 training prompts has one; give"):
        train(run_of(policy, bare, name), Checkpoints(tmp_path, "f"), Sink())


def test_what_a_clip_holds_back_is_counted(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    """The second update of a step is off-policy. HPT has no clip, so it limits no token."""
    clipped, free = (
        [metrics["ratio/clipped"] for metrics in last(policy, tasks, name, tmp_path / name).steps.values()]
        for name in ("grpo", "hpt")
    )
    assert max(clipped) > 0 and not any(free)


def test_relift_imitates_when_its_buffer_is_full(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    """Two prompts with a demonstration fail in every step, and two make a batch."""
    sink = last(policy, tasks, "relift", tmp_path / "a")
    assert all(metrics["nll/human"] > 0 for metrics in sink.steps.values())
    patient = last(policy, tasks, "relift", tmp_path / "b", sft_buffer=3)
    assert not any("nll/human" in metrics for metrics in patient.steps.values()), "the same two wait once"


def test_uft_samples_after_a_hint_and_verifies_both_together(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    run, sink = run_of(policy, tasks, "uft"), Sink()
    train(run, Checkpoints(tmp_path / "c", "f"), sink)
    assert all(metrics["hint/tokens"] > 0 for metrics in sink.steps.values())
    # The full demonstration, without its end of turn, is "7 as ever".
    assert any(response.startswith("7 as ") for response in run.verifier.heard)  # type: ignore[attr-defined]


def test_a_soft_gate_trains_both(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    for gate in (
        GateConfig(kind="soft"),
        GateConfig(kind="formula", alpha="P", beta="1 - P", offline="P / 2"),
    ):
        sink = last(policy, tasks, "hpt", tmp_path / gate.kind, gate=gate)
        assert sum(metrics["gate/both"] for metrics in sink.steps.values()) > 0


def test_ppo_learns_the_value_of_what_it_samples(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    """Only the value head learns, and it must predict the rewards better than 0 does."""
    sink = last(
        policy,
        tasks,
        "ppo",
        tmp_path,
        steps=12,
        optimizer=OptimizerConfig(lr=1e-9),
        value={"lr": 0.05, "clip": None},
    )
    errors = [metrics["value/error"] for metrics in sink.steps.values()]
    assert sum(errors[-3:]) < 0.8 * sum(errors[:3])


def test_a_kl_is_measured_and_holds(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    far, near = (
        last(policy, tasks, "grpo", tmp_path / str(strength), kl=KLConfig(coefficient=strength))
        for strength in (1e-9, 10.0)
    )
    assert 0 < near.steps[4]["kl/reference"] < far.steps[4]["kl/reference"]


def test_adapters_train_and_resume_and_the_sampler_has_them(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    keys: dict[str, Any] = {
        "lora": LoraConfig(rank=2, alpha=64.0),
        "kl": KLConfig(coefficient=0.1),
        "updates_per_step": 1,  # so that the first is measured from the start itself
    }
    whole = run_of(policy, tasks, "hpt", **keys)
    base = {
        name: value.clone() for name, value in whole.policy.model.named_parameters() if ".base_layer" in name
    }
    train(whole, Checkpoints(tmp_path / "whole", "f"), sink := Sink())
    assert whole.engine.policy == weights_hash(whole.policy.model) != weights_hash(policy.model)
    assert (
        sink.steps[1]["kl/reference"] == pytest.approx(0, abs=1e-4) and sink.steps[4]["kl/reference"] > 1e-4
    )
    for name, value in whole.policy.model.named_parameters():
        assert name not in base or torch.equal(value, base[name])

    train(run_of(policy, tasks, "hpt", steps=2, **keys), Checkpoints(tmp_path / "cut", "f"), Sink())
    again = run_of(policy, tasks, "hpt", **keys)
    train(again, Checkpoints(tmp_path / "cut", "f"), Sink())
    assert weights_hash(again.policy.model) == weights_hash(whole.policy.model)


def test_gradient_checkpointing_changes_nothing(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    hashes = []
    for on in (False, True):
        run = run_of(policy, tasks, "hpt", gradient_checkpointing=on)
        train(run, Checkpoints(tmp_path / str(on), "f"), Sink())
        hashes.append(weights_hash(run.policy.model))
    assert hashes[0] == hashes[1]


def test_only_psft_and_rl_plus_look_back(policy: LoadedPolicy) -> None:
    looking = {name for name, entry in ALGORITHMS.items() if "old_demonstrations" in entry.needs}
    assert looking == {"psft", "rl_plus"}
    assert torch.is_grad_enabled()
