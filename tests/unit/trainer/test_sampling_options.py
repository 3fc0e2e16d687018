"""Dynamic sampling, the penalty of long responses, and masks of rollouts, in whole runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from small_run import ROLLOUT, Sink, last, run_of

from hpt_core.config import (
    DynamicSamplingConfig,
    ImportanceConfig,
    OverlongConfig,
    SequenceMaskConfig,
    TrainConfig,
)
from hpt_core.config.methods import CLIPPING, IMITATING, READ_BY, ROLLOUTS_ALONE, UNEQUAL
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.metrics import overlong_metrics
from hpt_core.trainer.sampling import replacements
from hpt_core.types import Verdict
from hpt_core.upge import ALGORITHMS
from hpt_core.upge.stable import clip


class Partial:
    """Solves none of the prompts in `hopeless`, and every second response to the others."""

    def __init__(self, hopeless: Sequence[str]) -> None:
        self.hopeless = hopeless

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [
            Verdict(gold not in self.hopeless and i % 2 == 0, None) for i, (_, gold, _) in enumerate(items)
        ]


@pytest.fixture
def many(make_group: Callable[..., Group]) -> list[Task]:
    """Twelve prompts, of which those with an even number are hopeless."""
    made = [make_group(f"{i} + {i}", [0]).task for i in range(12)]
    return [
        replace(task, prompt=replace(task.prompt, answer="never" if i % 2 == 0 else "7"))
        for i, task in enumerate(made)
    ]


def dynamic(policy: LoadedPolicy, tasks: list[Task], rounds: int = 6, **changes: Any) -> Any:
    keys = {"prompts_per_step": 4, "updates_per_step": 1, "checkpoint_every": 1, **changes}
    run = run_of(policy, tasks, "dapo", dynamic_sampling=DynamicSamplingConfig(rounds=rounds), **keys)
    return replace(run, verifier=Partial(["never"]))


def test_a_step_is_filled_with_prompts_that_have_a_signal(
    policy: LoadedPolicy, many: list[Task], tmp_path: Path
) -> None:
    sink, checkpoints = Sink(), Checkpoints(tmp_path, "f")
    train(dynamic(policy, many, steps=3), checkpoints, sink)
    gate, rollouts = list(checkpoints.rows("gate", 3)), list(checkpoints.rows("rollouts", 3))
    for step in (1, 2, 3):
        routes = Counter(row["route"] for row in gate if row["step"] == step)
        assert routes["rl"] == 4, "the step is full"
        assert {row["pass_rate"] for row in gate if row["step"] == step and row["route"] == "equal"} <= {0.0}
        prompts = [row["prompt_id"] for row in gate if row["step"] == step]
        assert len(set(prompts)) == len(prompts) == sink.steps[step]["sampling/prompts"]
        mine = [row for row in rollouts if row["step"] == step]
        assert len(mine) == ROLLOUT.group_size * len(prompts), "every rollout is recorded"
        assert sum(row["trained"] for row in mine) == 4 * ROLLOUT.group_size
        assert sink.steps[step]["reward/mean"] == sum(row["reward"] for row in mine) / len(mine)
    assert sum(row["route"] == "equal" for row in gate) > 0


def test_the_rounds_are_bounded(policy: LoadedPolicy, many: list[Task], tmp_path: Path) -> None:
    sink = Sink()
    train(dynamic(policy, many, rounds=2, steps=2), Checkpoints(tmp_path / "a", "f"), sink)
    assert all(metrics["sampling/prompts"] <= 8 for metrics in sink.steps.values())
    before, hopeless = weights_hash(policy.model), [task for task in many if task.prompt.answer == "never"]
    run = dynamic(policy, hopeless, rounds=9, steps=1)
    train(run, Checkpoints(tmp_path / "b", "f"), nothing := Sink())
    assert nothing.steps[1]["sampling/prompts"] == len(hopeless), "each prompt once"
    assert nothing.steps[1]["empty"] == 1 and weights_hash(run.policy.model) == before


def test_dynamic_sampling_resumes_to_the_byte(policy: LoadedPolicy, many: list[Task], tmp_path: Path) -> None:
    def trained(folder: str, *steps: int) -> tuple[str, list[Any]]:
        checkpoints = Checkpoints(tmp_path / folder, "f")
        for count in steps:
            run = dynamic(policy, many, steps=count)
            train(run, checkpoints, Sink())
        rows = [*checkpoints.rows("rollouts", 3), *checkpoints.rows("gate", 3)]
        return weights_hash(run.policy.model), rows

    assert trained("cut", 1, 2, 3) == trained("whole", 3)


def test_replacements_are_the_other_prompts_in_an_order_of_the_seed(many: list[Task]) -> None:
    first, again, other = (replacements(many, many[:4], seed) for seed in (1, 1, 2))
    assert first == again != other
    assert {task.prompt.prompt_id for task in first} == {task.prompt.prompt_id for task in many[4:]}


def test_penalties_are_counted(make_group: Callable[..., Group]) -> None:
    group = make_group("1 + 1", [1, 0, 1])
    cut = [
        replace(rollout, completion=replace(rollout.completion, token_ids=(1,) * length))
        for rollout, length in zip(group.rollouts, (4, 7, 10), strict=True)
    ]
    found = overlong_metrics([replace(group, rollouts=cut)], OverlongConfig(buffer=4, penalty=0.5), 10)
    assert found == {"overlong/penalty": 0.5 * (0 + 1 / 4 + 1) / 3, "overlong/share": pytest.approx(2 / 3)}
    assert overlong_metrics([group], None, 10) == {}


def test_a_penalty_moves_the_advantage_and_not_the_record(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path
) -> None:
    records = []
    for name, overlong in (("plain", None), ("short", OverlongConfig(buffer=6, penalty=1.0))):
        checkpoints = Checkpoints(tmp_path / name, "f")
        run = run_of(policy, tasks, "hpt", steps=1, updates_per_step=1, checkpoint_every=1, overlong=overlong)
        train(run, checkpoints, Sink())
        gate = [(row["prompt_id"], row["pass_rate"]) for row in checkpoints.rows("gate", 1)]
        rewards = [row["reward"] for row in checkpoints.rows("rollouts", 1)]
        records.append((gate, rewards, weights_hash(run.policy.model)))
    (gate, rewards, weights), (gate_short, rewards_short, weights_short) = records
    assert (gate, rewards) == (gate_short, rewards_short) and weights != weights_short


@pytest.mark.parametrize("updates", [1, 2])
def test_a_mask_takes_out_what_sampler_and_trainer_disagree_about(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, updates: int
) -> None:
    mask = SequenceMaskConfig(low=0.99995, high=1.00005)
    keys: dict[str, Any] = {
        "updates_per_step": updates,
        "steps": 2,
        "checkpoint_every": 1,
        "sequence_mask": mask,
    }
    agreeing = last(policy, tasks, "grpo", tmp_path / "a", **keys)
    assert all(metrics["sequence_mask/masked"] == 0 for metrics in agreeing.steps.values())
    run = run_of(policy, tasks, "grpo", **keys)
    generate = run.engine.generate

    def biased(*given: Any) -> Any:
        """Log-probabilities that are 1e-4 too high, which is within what the check of the engine allows."""
        return [replace(c, logprobs=tuple(p + 1e-4 for p in c.logprobs)) for c in generate(*given)]

    run.engine.generate = biased  # type: ignore[method-assign]
    checkpoints, sink = Checkpoints(tmp_path / "b", "f"), Sink()
    train(run, checkpoints, sink)
    assert all(metrics["sequence_mask/masked"] == 1 for metrics in sink.steps.values())
    assert not any(row["trained"] for row in checkpoints.rows("rollouts", 2))


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_weights_see_how_old_the_weights_behind_a_rollout_are(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, level: Literal["token", "sequence"]
) -> None:
    """The first rollouts of a run with a lag are fresh, and those of the next steps a step or more old."""
    limits = ImportanceConfig(level=level, kind="mask", low=0.999, high=1.001)
    masked = []
    for lag in (0, 1):
        rollout = ROLLOUT.model_copy(update={"lag": lag})
        run = run_of(policy, tasks, "dr_grpo", steps=3, importance=limits, max_staleness=lag)
        checkpoints, sink = Checkpoints(tmp_path / str(lag), "f"), Sink()
        train(replace(run, rollout=rollout), checkpoints, sink)
        masked.append([metrics["importance/masked"] for metrics in sink.steps.values()])
        for step, share in enumerate(masked[-1], 1):
            trained = [row["trained"] for row in checkpoints.rows("rollouts", 3) if row["step"] == step]
            assert any(trained) == (share < 1)
    fresh, stale = masked
    assert fresh == [0, 0, 0] and stale[0] == 0 and min(stale[1:]) > 0.5


def test_options_are_read_by_the_methods_that_say_so() -> None:
    rollouts = {name: method.rollouts for name, method in ALGORITHMS.items() if method.rollouts}
    assert set(ALGORITHMS) - set(rollouts) == IMITATING
    assert {name for name, term in rollouts.items() if term.stable is clip} == CLIPPING
    alone = {n for n, m in ALGORITHMS.items() if m.rollouts and not (m.demonstrations or m.offline)}
    assert alone == ROLLOUTS_ALONE and alone - {"reinforce", "ppo"} == UNEQUAL


@pytest.mark.parametrize(
    ("option", "value", "method"),
    [
        ("clip_ratio_c", 3.0, "hpt"),
        ("clip_ratio_c", 3.0, "psft"),
        ("sequence_mask", SequenceMaskConfig(), "sft"),
        ("overlong", OverlongConfig(buffer=2), "maxrl"),
        ("overlong", OverlongConfig(buffer=2), "srft"),
        ("dynamic_sampling", DynamicSamplingConfig(), "hpt"),
        ("dynamic_sampling", DynamicSamplingConfig(), "relift"),
        ("dynamic_sampling", DynamicSamplingConfig(), "luffy"),
        ("dynamic_sampling", DynamicSamplingConfig(), "ppo"),
    ],
)
def test_an_option_that_a_method_ignores_is_refused(option: str, value: Any, method: str) -> None:
    keys = {"steps": 1, "prompts_per_step": 1, "optimizer": {"lr": 0.1}}
    with pytest.raises(ValueError, match=rf"{method} does not read it; remove it, or choose one of"):
        TrainConfig(**keys, algorithm=method, **{option: value})
    reader = min(READ_BY[option])
    assert getattr(TrainConfig(**keys, algorithm=reader, **{option: value}), option) == value
