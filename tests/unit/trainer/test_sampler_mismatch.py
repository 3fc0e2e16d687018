"""Trainer and sampler have the same weights and the same log-probabilities of the rollouts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Lagging
from torch.testing import assert_close

from hpt_core.config import ImportanceConfig, OptimizerConfig, RolloutConfig, Sampling, TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task, sample, score
from hpt_core.trainer.algorithm_options import options_at
from hpt_core.trainer.batch import rows_of
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.sampler_mismatch import SAMPLE, WeightVersions, sampler_mismatch
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.old_logprobs import with_old_logprobs
from hpt_core.trainer.ranks import ALONE
from hpt_core.trainer.step import update
from hpt_core.types import Verdict

MakeGroup = Callable[..., Group]
ROLLOUT = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=8, temperature=0.8)


def config(**keys: Any) -> TrainConfig:
    return TrainConfig(
        **{"algorithm": "grpo", "steps": 4, "prompts_per_step": 5, "optimizer": OptimizerConfig(lr=1e-2)}
        | keys
    )


class ByLength:
    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def log(self, step: int, metrics: Any) -> None:
        self.steps.append(metrics)


@pytest.fixture
def tasks(make_group: MakeGroup) -> list[Task]:
    return [make_group(f"{i} + {i}", [0]).task for i in range(10)]


def run_with(policy: LoadedPolicy, tasks: list[Task], lag: int, **keys: Any) -> TrainContext:
    engine = HFEngine(policy, dtype=torch.float64)  # a copy, with weights of its own
    return TrainContext(
        policy, Lagging(engine, lag), ByLength(), tasks, tasks[:2], config(**keys), ROLLOUT, seed=3
    )


@pytest.mark.parametrize("lag", [1, 2])
def test_rollouts_of_weights_too_old_stop_the_run(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, lag: int
) -> None:
    run, sink = run_with(policy, tasks, lag, max_staleness=lag - 1), Sink()
    with pytest.raises(TrainingError, match=rf"train.max_staleness allows {lag - 1} steps.*did not take"):
        train(run, Checkpoints(tmp_path / "c", "f"), sink)
    assert len(sink.steps) == lag, "the first push was the engine's own weights"


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_as_old_as_params_allow_is_counted(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, lag: int
) -> None:
    run, sink = run_with(policy, tasks, lag, max_staleness=2), Sink()
    train(run, Checkpoints(tmp_path / "c", "f"), sink)
    assert [metrics["staleness"] for metrics in sink.steps] == [min(step, lag) for step in range(4)]
    late = [metrics["sampler/difference"] for metrics in sink.steps[lag + 1 :]]
    assert (
        all(difference > 1e-3 for difference in late)
        if lag
        else all(difference < 1e-5 for difference in late)
    )


def test_weights_that_the_policy_never_had_are_refused(make_group: MakeGroup) -> None:
    versions = WeightVersions(limit=5)
    versions.add("mine")
    with pytest.raises(TrainingError, match="weights made, and this step's are mine"):
        versions.age([make_group("a", [0, 1])])
    versions.add("made")
    assert versions.age([make_group("a", [0, 1])]) == 0 and versions.age([]) == 0


def sampled(policy: LoadedPolicy, tasks: list[Task]) -> list[Group]:
    engine = HFEngine(policy)
    return score(tasks, sample(engine, tasks, ROLLOUT, 1, 3), ByLength(), 1, engine.policy)


def test_the_difference_is_that_of_the_log_probabilities(policy: LoadedPolicy, tasks: list[Task]) -> None:
    rows = rows_of(sampled(policy, tasks))
    shifted = [replace(row, logp_sampled=[p - 0.25 for p in row.logp_sampled]) for row in rows]
    policy_module = PolicyModule(policy.model)
    same, off = (sampler_mismatch(policy_module, given, config(), 0.8) for given in (rows, shifted))
    assert same["sampler/difference_max"] < 1e-5 and abs(same["sampler/kl"]) < 1e-9
    assert off["sampler/difference"] == pytest.approx(0.25, abs=1e-5)
    assert off["sampler/kl"] == pytest.approx(torch.e**0.25 - 1 - 0.25, abs=1e-5), "k3 of a ratio of e^0.25"
    tempered = sampler_mismatch(policy_module, rows, config(), 1.0)
    assert tempered["sampler/difference"] > 1e-2, "another temperature is another distribution"


def test_a_few_rollouts_are_compared_and_no_demonstration(
    policy: LoadedPolicy, make_group: MakeGroup, tasks: list[Task]
) -> None:
    rows = rows_of(sampled(policy, tasks))
    first = rows[0].length
    far = [
        row if i * first < SAMPLE // 2 else replace(row, logp_sampled=[9.0] * 8) for i, row in enumerate(rows)
    ]
    assert sampler_mismatch(PolicyModule(policy.model), far, config(), 0.8)["sampler/difference_max"] > 1
    last = [*rows[:-1], replace(rows[-1], logp_sampled=[9.0] * len(rows[-1].response))]
    assert sampler_mismatch(PolicyModule(policy.model), last, config(), 0.8)["sampler/difference_max"] < 1e-5
    assert (
        sampler_mismatch(PolicyModule(policy.model), rows_of([make_group("a", [], "human")]), config(), 0.8)
        == {}
    )


@pytest.mark.parametrize("updates", [1, 2])
def test_a_cap_keeps_the_trainer_s_own_word_beside_the_sampler_s(
    policy: LoadedPolicy, tasks: list[Task], updates: int
) -> None:
    rows = [
        replace(
            row, logp_sampled=[p - 0.1 for p in row.logp_sampled], logp_old=[p - 0.1 for p in row.logp_old]
        )
        for row in rows_of(sampled(policy, tasks))
    ]
    capped = config(importance=ImportanceConfig(), updates_per_step=updates)
    found = with_old_logprobs(PolicyModule(policy.model), rows, capped, 0.8, ALONE)
    for row, given in zip(found, rows, strict=True):
        assert row.logp_sampled == given.logp_sampled
        if updates == 1:
            assert row.logp_old == (), "the policy still is the old one"
        else:
            own = torch.tensor(given.logp_sampled) + 0.1
            assert_close(torch.tensor(row.logp_old), own, rtol=0, atol=1e-5)
    assert (
        with_old_logprobs(PolicyModule(policy.model), rows, config(updates_per_step=updates), 0.8, ALONE)
        == rows
    )


@pytest.mark.parametrize("cap", [10.0, 1.05])
def test_a_cap_weighs_each_token_by_the_trainer_over_the_sampler(
    policy: LoadedPolicy, tasks: list[Task], cap: float
) -> None:
    """A sampler whose log-probabilities are off by 0.1 scales the step's gradient by min(e^0.1, C)."""
    rows = rows_of(sampled(policy, tasks))
    off = [replace(row, logp_sampled=[p - 0.1 for p in row.logp_sampled]) for row in rows]
    norms = []
    for given, settings in (
        (rows, config()),
        (off, config(importance=ImportanceConfig(high=cap))),
        (rows, config(importance=ImportanceConfig(high=cap))),
    ):
        policy_module = PolicyModule(copy.deepcopy(policy.model))
        options = {**options_at(settings, ROLLOUT, 1), "length": 8}
        recalled = with_old_logprobs(policy_module, given, settings, 0.8, ALONE)
        optimizers = build_optimizers(policy_module.model, settings.optimizer)
        learner = Learner(policy_module, optimizers, settings, options, temperature=0.8)
        norms.append(update(learner, recalled)["grad_norm"])
    plain, shifted, same = norms
    assert shifted / plain == pytest.approx(min(torch.e**0.1, cap), rel=1e-4)
    assert same / plain == pytest.approx(1, rel=1e-4)


def test_dropout_is_no_difference_between_trainer_and_sampler(
    policy: LoadedPolicy, tasks: list[Task]
) -> None:
    rows = rows_of(sampled(policy, tasks))
    policy.model.config.attention_dropout = 0.3
    policy_module = PolicyModule(policy.model).train()
    settings = config(importance=ImportanceConfig(), updates_per_step=2)
    found = with_old_logprobs(policy_module, rows, settings, 0.8, ALONE)
    for row, given in zip(found, rows, strict=True):
        assert_close(torch.tensor(row.logp_old), torch.tensor(given.logp_sampled), rtol=0, atol=1e-5)


def test_sampling_that_the_loss_does_not_mean_is_refused() -> None:
    for name, value in (("top_p", 0.9), ("top_k", 20), ("min_p", 0.1)):
        with pytest.raises(ValueError, match=r"the loss means the whole distribution.*remove it"):
            RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=8, **{name: value})
    assert ROLLOUT.sampling == Sampling(temperature=0.8, top_p=1.0, max_new_tokens=8)
