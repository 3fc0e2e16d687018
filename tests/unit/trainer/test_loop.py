"""The loop: the prompts of a step, its metrics and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpt_core.config import GateConfig, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.sampling import tasks_of_step
from hpt_core.types import Verdict

MakeGroup = Callable[..., Group]


@pytest.fixture
def tasks(make_group: MakeGroup) -> list[Task]:
    return [make_group(f"{i} + {i}", [0], "human" if i % 3 else None).task for i in range(10)]


def test_demonstrations_of_a_prompt_come_in_turn(make_group: MakeGroup) -> None:
    first, second = (make_group("a", [1.0], kind).task for kind in ("human", "program"))
    assert first.expert and second.expert
    task = replace(first, others=((second.expert, second.demonstration),))
    seen = [tasks_of_step([task], step, 1, seed=4)[0].expert for step in range(1, 5)]
    assert seen == [first.expert, second.expert, first.expert, second.expert]
    assert tasks_of_step([first], 2, 1, seed=4) == [first]


@pytest.mark.parametrize("count", [3, 5, 10])
def test_an_epoch_takes_every_prompt_once(tasks: list[Task], count: int) -> None:
    steps = 30 // count
    taken = [tasks_of_step(tasks, step, count, seed=4) for step in range(1, steps + 1)]
    times = Counter(task.prompt.prompt_id for step in taken for task in step)
    # Where an epoch ends inside a step, a prompt that came twice counts once.
    assert all(3 - (10 % count > 0) * 2 <= times[task.prompt.prompt_id] <= 3 for task in tasks)
    first = [task.prompt.prompt_id for step in taken for task in step][: 10 - 10 % count]
    assert len(set(first)) == len(first), "no prompt twice within the first epoch"
    assert taken == [tasks_of_step(tasks, step, count, seed=4) for step in range(1, steps + 1)]
    assert taken != [tasks_of_step(tasks, step, count, seed=5) for step in range(1, steps + 1)]


def test_epochs_are_shuffled_apart(tasks: list[Task]) -> None:
    first, second = (tasks_of_step(tasks, step, 10, seed=4) for step in (1, 2))
    assert first != second and {t.prompt.prompt_id for t in first} == {t.prompt.prompt_id for t in second}


class Fickle:
    """Judges by the length of the response; gives no verdict for the answers in `mute`."""

    def __init__(self, mute: Sequence[str] = (), patience: int = 10**9) -> None:
        self.mute, self.patience, self.calls, self.right = mute, patience, 0, False

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        self.calls += 1
        return [
            Verdict(False, None, "took over 5 s")
            if gold in self.mute or self.calls > self.patience
            else Verdict(self.right or len(response) % 2 == 0, None)
            for response, gold, _ in items
        ]


class Sink:
    def __init__(self) -> None:
        self.steps: dict[int, Mapping[str, float]] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps[step] = metrics


def job(policy: LoadedPolicy, tasks: list[Task], verifier: Fickle, steps: int = 2) -> TrainContext:
    rollout = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=6)
    config = TrainConfig(
        steps=steps,
        prompts_per_step=5,
        updates_per_step=2,
        gate=GateConfig(gamma=0.25),
        optimizer=OptimizerConfig(lr=1e-3),
        dev_every=2,
    )
    return TrainContext(policy, HFEngine(policy), verifier, tasks, tasks[:2], config, rollout, seed=3)


def test_records_and_metrics_agree(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    sink, checkpoints = Sink(), Checkpoints(tmp_path / "c", "f")
    train(job(policy, tasks, Fickle(), steps=4), checkpoints, sink)
    rollouts, gate = list(checkpoints.rows("rollouts", 4)), list(checkpoints.rows("gate", 4))
    assert len(gate) == 4 * 5 and len(rollouts) == 4 * 5 * 4
    routes = Counter(row["route"] for row in gate)
    for name in ("sft", "rl", "equal", "no_expert"):
        assert sum(metrics[f"gate/{name}"] for metrics in sink.steps.values()) == routes[name]
    for step, metrics in sink.steps.items():
        mine = [row for row in rollouts if row["step"] == step]
        assert metrics["reward/mean"] == pytest.approx(sum(row["reward"] for row in mine) / len(mine))
        assert metrics["verifier/unjudged"] == 0
    assert sink.steps[4]["tokens/generated"] == sum(len(row["token_ids"]) for row in rollouts)
    by_step = {step: {row["policy"] for row in rollouts if row["step"] == step} for step in sink.steps}
    assert all(len(hashes) == 1 for hashes in by_step.values())
    assert len(set.union(*by_step.values())) == 4, "each step samples from the weights of the one before"
    assert [step for step, metrics in sink.steps.items() if "dev/accuracy" in metrics] == [2, 4]


def test_rollouts_without_a_verdict_are_counted_and_not_trained_on(
    policy: LoadedPolicy, tasks: list[Task], make_group: MakeGroup, tmp_path: Path
) -> None:
    mute = make_group("odd", [0]).task
    mute = Task(type(mute.prompt)(**{**vars(mute.prompt), "answer": "mute"}), mute.tokens, None, [])
    sink, checkpoints = Sink(), Checkpoints(tmp_path / "c", "f")
    train(job(policy, [*tasks[:4], mute], Fickle(mute=["mute"])), checkpoints, sink)
    assert [metrics["verifier/unjudged"] for metrics in sink.steps.values()] == [4, 4]
    assert {row["prompt_id"] for row in checkpoints.rows("gate", 2)} == {
        task.prompt.prompt_id for task in tasks[:4]
    }
    written = list(checkpoints.rows("rollouts", 2))
    assert len(written) == 2 * 5 * 4, "every rollout of training is kept"
    assert sum(row["reward"] is None for row in written) == 2 * 4


def test_no_verdict_at_all_stops(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="step 1: no prompt has two judged rollouts"):
        train(job(policy, tasks, Fickle(patience=0)), Checkpoints(tmp_path, "f"), Sink())


def with_answer(task: Task, answer: str) -> Task:
    return replace(task, prompt=replace(task.prompt, answer=answer))


class Slow(Fickle):
    """Judges as `Fickle` does; a response to the answers in `mute` exceeds the verifier's limits."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        verdicts = super().verify(items)
        return [replace(verdict, over_limit=verdict.error is not None) for verdict in verdicts]


def test_a_rollout_over_the_limits_has_the_reward_of_a_wrong_one(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    sink, checkpoints = Sink(), Checkpoints(tmp_path / "c", "f")
    slow = with_answer(tasks[4], "slow")
    train(job(policy, [*tasks[:4], slow], Slow(mute=["slow"])), checkpoints, sink)
    for step, metrics in sink.steps.items():
        rows = [row for row in checkpoints.rows("rollouts", 2) if row["step"] == step]
        rewards = [row["reward"] for row in rows if row["prompt_id"] == slow.prompt.prompt_id]
        assert rewards == [0.0] * 4
        assert metrics["verifier/timeouts"] == 4 and metrics["verifier/unjudged"] == 0
        assert metrics["reward/mean"] == pytest.approx(sum(row["reward"] for row in rows) / len(rows))
    rates = {row["prompt_id"]: row["pass_rate"] for row in checkpoints.rows("gate", 2)}
    assert rates[slow.prompt.prompt_id] == 0 and len(rates) == 5


def test_a_dev_prompt_over_the_limits_is_not_solved_and_counted(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    measured = {}
    verifiers = {"all judged": Fickle(), "slow": Slow(mute=["slow"]), "failed": Fickle(mute=["slow"])}
    for name, verifier in verifiers.items():
        sink, verifier.right = Sink(), True
        run = replace(job(policy, tasks, verifier), dev=[with_answer(tasks[0], "slow"), tasks[1]])
        train(run, Checkpoints(tmp_path / name, "f"), sink)
        measured[name] = (sink.steps[2]["dev/accuracy"], sink.steps[2].get("dev/unjudged"))
    # A verifier that failed says nothing about the policy.
    assert measured == {"all judged": (1, None), "slow": (0.5, 1), "failed": (1, 1)}


def test_no_verdict_on_any_dev_prompt_ends_no_training(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    sink = Sink()  # Two steps of training, then the dev prompts.
    train(job(policy, tasks, Fickle(patience=2)), Checkpoints(tmp_path, "f"), sink)
    assert "dev/accuracy" not in sink.steps[2] and sink.steps[2]["dev/unjudged"] == 2
