"""The record of a step: routes come from the plan, `trained` from the plan and the optimizer."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hpt_core.config import GateConfig, MixSchedule, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.gate import Gate, Switch, Table
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.batch import row_info, rows_of
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.source_stats import summarise
from hpt_core.trainer.step_records import Decisions
from hpt_core.types import Verdict
from hpt_core.upge import plan

ROLLOUT = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=6)
STEPS = 4
MakeGroup = Callable[..., Group]


def decided(groups: Sequence[Group], name: str, *, stepped: bool = True, **options: Any) -> Decisions:
    """The decisions of one update on the groups."""
    rows, decisions = rows_of(groups), Decisions()
    planned = plan(name, row_info(rows, torch.device("cpu")), length=ROLLOUT.max_new_tokens, **options)
    decisions.add(rows, planned, planned.active, stepped=stepped)
    return decisions


def route(make_group: MakeGroup, gate: Gate, solved: int, equal: bool, has_expert: bool) -> str:
    """The route of a prompt with `solved` of 8, or with eight rewards of that mean."""
    rewards = [solved / 8] * 8 if equal else [1.0] * solved + [0.0] * (8 - solved)
    group = make_group("p", rewards, "human" if has_expert else None)
    return decided([group], "hpt", gate=gate).route("p")


@pytest.mark.parametrize(
    ("solved", "equal", "has_expert", "expected"),
    [
        (0, True, True, "sft"),
        (2, False, True, "sft"),
        (2, False, False, "no_expert"),
        (0, True, False, "no_expert"),
        (4, False, True, "rl"),
        (4, False, False, "rl"),
        (8, True, True, "equal"),
    ],
)
def test_the_switch_gives_each_prompt_one_route(
    make_group: MakeGroup, solved: int, equal: bool, has_expert: bool, expected: str
) -> None:
    assert route(make_group, Switch(gamma=0.25), solved, equal, has_expert) == expected


@pytest.mark.parametrize(
    ("solved", "equal", "has_expert", "expected"),
    [
        (0, True, True, "sft"),
        (0, True, False, "no_expert"),
        (1, False, True, "sft"),
        (1, False, False, "no_expert"),
        (2, False, True, "both"),
        (2, False, False, "rl"),
        (4, True, True, "sft"),
        (4, True, False, "equal"),
        (5, False, True, "both"),
        (6, False, True, "both"),
        (7, False, True, "rl"),
        (8, True, True, "equal"),
        (8, True, False, "equal"),
    ],
)
def test_the_soft_gate_trains_on_both_in_between(
    make_group: MakeGroup, solved: int, equal: bool, has_expert: bool, expected: str
) -> None:
    """At 5 and 6 of 8 SFT has no weight, and RL on the demonstration has one."""
    assert route(make_group, Table(), solved, equal, has_expert) == expected


def test_the_route_is_that_of_the_algorithm(make_group: MakeGroup) -> None:
    groups = [make_group(f"unsolved {kind}", [0, 0], kind) for kind in (None, "human")]
    groups += [make_group(f"half {kind}", [1, 0], kind) for kind in (None, "human")]

    def routes(name: str, **options: Any) -> list[str]:
        decisions = decided(groups, name, **options)
        return [decisions.route(group.task.prompt.prompt_id) for group in groups]

    assert routes("hpt") == ["no_expert", "sft", "rl", "rl"]
    assert routes("grpo") == ["equal", "equal", "rl", "rl"]
    assert routes("luffy") == ["equal", "both", "rl", "both"]
    assert routes("chord", mu=0.5) == ["equal", "sft", "rl", "both"]
    # A demonstration without weight is not trained on, whatever the gate says of its prompt.
    assert routes("hpt", sft_coefficient=0.0) == ["no_expert", "none", "rl", "rl"]
    assert routes("chord", mu=0.0) == ["equal", "equal", "rl", "rl"]
    assert routes("chord", mu=1.0) == ["none", "sft", "none", "sft"]
    # REINFORCE has no baseline, so equal rewards above 0 have a gradient.
    solved = make_group("solved", [1, 1])
    assert decided([solved], "reinforce").route("solved") == "rl"
    assert decided([solved], "grpo").route("solved") == "equal"


def test_a_prompt_that_imitation_finds_no_demonstration_of(make_group: MakeGroup) -> None:
    groups = [make_group("without", []), make_group("with", [], "human")]
    decisions = decided(groups, "sft")
    assert [decisions.route(name) for name in ("without", "with")] == ["no_expert", "sft"]


def test_a_row_is_trained_on_where_the_optimizer_stepped(make_group: MakeGroup) -> None:
    groups = [make_group("half", [1, 0, 1], "human"), make_group("unsolved", [0, 0], "human")]
    for stepped in (True, False):
        decisions = decided(groups, "hpt", stepped=stepped)
        assert [decisions.route(name) for name in ("half", "unsolved")] == ["rl", "sft"]
        assert [row["trained"] for row in decisions.rollout_rows(groups)] == [stepped] * 3 + [False] * 2
        assert [row["trained"] for row in decisions.gate_rows(groups, 1)] == [False, stepped]


class ByLength:
    """Correct where the response has an even length, except for the prompts whose answer is "never"."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [Verdict(gold != "never" and len(text) % 2 == 0, None) for text, gold, _ in items]


class NoSink:
    def log(self, step: int, metrics: Any) -> None: ...


@pytest.fixture
def tasks(make_group: MakeGroup) -> list[Task]:
    return [make_group(f"{i} + {i}", [0], "human" if i % 3 else None).task for i in range(6)]


def trained(policy: LoadedPolicy, tasks: list[Task], folder: Path, steps: int = STEPS, **keys: Any) -> Any:
    """Gate rows, rollout rows, metrics and the policy's hash after training."""
    settings: dict[str, Any] = {
        "prompts_per_step": 6,
        "updates_per_step": 2,
        "optimizer": OptimizerConfig(lr=1e-3),
        "gate": GateConfig(gamma=0.5),
        "checkpoint_every": 2,
        "dev_every": STEPS,
        **keys,
    }
    policy = policy._replace(model=copy.deepcopy(policy.model))
    config = TrainConfig(steps=steps, **settings)
    checkpoints = Checkpoints(folder, "f")
    run = TrainContext(policy, HFEngine(policy), ByLength(), tasks, tasks[:1], config, ROLLOUT, seed=3)
    train(run, checkpoints, NoSink())
    gate, rollouts = list(checkpoints.gate_rows(steps)), list(checkpoints.rows("rollouts", steps))
    return gate, rollouts, checkpoints.metrics(steps), weights_hash(policy.model)


def test_without_an_sft_coefficient_no_demonstration_is_recorded(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    gate, rollouts, metrics, _ = trained(policy, tasks, tmp_path, sft_coefficient=0.0)
    assert not any(row["trained"] for row in gate)
    assert {row["route"] for row in gate} <= {"rl", "equal", "no_expert", "none"}
    assert any(row["route"] == "none" for row in gate) and any(row["trained"] for row in rollouts)
    assert summarise(gate, metrics)["s"]["sft"] == 0


def test_chord_at_mu_0_is_rl_alone(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    keys = {"algorithm": "chord", "mu": MixSchedule(peak=0.0, valley=0.0)}
    gate, rollouts, _, _ = trained(policy, tasks, tmp_path, **keys)
    assert not any(row["trained"] for row in gate) and {row["route"] for row in gate} <= {"rl", "equal"}
    by_rl = {(row["step"], row["prompt_id"]) for row in gate if row["route"] == "rl"}
    assert {(row["step"], row["prompt_id"]) for row in rollouts if row["trained"]} == by_rl != set()


def test_an_update_that_was_skipped_trained_on_nothing(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    before = weights_hash(policy.model)
    gate, rollouts, metrics, after = trained(policy, tasks, tmp_path, skip_norm=1e-9)
    assert after == before and all(row["skipped"] == 2 for row in metrics)
    assert not any(row["trained"] for row in [*gate, *rollouts])
    assert any(row["route"] == "sft" for row in gate), "the gate's decision stands"
    assert all(row.get("source/s/sft", 0.0) == row["tokens/trained"] == 0.0 for row in metrics)
    assert not any("offline_share" in row for row in metrics)
    assert summarise(gate, metrics)["s"]["sft"] == 0


def test_one_skipped_update_of_two(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    """A norm between those of the two updates of a step: one half of the prompts is trained on."""
    keys = {"algorithm": "sft", "prompts_per_step": 4, "tasks": [task for task in tasks if task.expert]}
    some = keys.pop("tasks")
    free = trained(policy, some, tmp_path / "free", steps=1, clip_norm=1e9, **keys)
    assert all(row["trained"] for row in free[0])
    skipped = 0
    for limit in (0.5, 1.0, 2.0, 4.0):
        folder = tmp_path / str(limit)
        norm = free[2][0]["grad_norm"] * limit
        gate, _, metrics, _ = trained(policy, some, folder, steps=1, clip_norm=1e9, skip_norm=norm, **keys)
        counted = Counter(row["trained"] for row in gate)
        assert counted[False] == 2 * metrics[0]["skipped"]
        skipped += int(metrics[0]["skipped"])
    assert skipped > 0


def test_relift_records_a_demonstration_when_it_leaves_the_buffer(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    """Four prompts with a demonstration fail in every step; three of them leave the buffer together."""
    never = [Task(replaced(task), task.tokens, task.expert, task.demonstration) for task in tasks]
    keys = {"algorithm": "relift", "sft_buffer": 3, "prompts_per_step": 4}
    gate, rollouts, metrics, whole = trained(policy, never, tmp_path / "whole", **keys)
    imitated = [row for row in gate if row["trained"]]
    assert {row["route"] for row in imitated} == {"sft"}
    assert all(count % 3 == 0 for count in Counter(row["step"] for row in imitated).values())
    assert any(row["pass_rate"] is None for row in imitated), "a prompt of an earlier step"
    assert not any(row["trained"] for row in rollouts), "all rewards are 0"
    for row in metrics:
        counted = sum(one["step"] == row["step"] for one in imitated)
        assert row.get("source/s/sft", 0.0) == row.get("gate/sft", 0.0) == counted

    trained(policy, never, tmp_path / "cut", steps=2, **keys)
    resumed = trained(policy, never, tmp_path / "cut", **keys)
    assert (resumed[0], resumed[1], resumed[3]) == (gate, rollouts, whole)


def replaced(task: Task) -> Any:
    return type(task.prompt)(**{**vars(task.prompt), "answer": "never"})
