"""Schedules, buffers and hints of the methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from hpt_core.config import HintConfig, MixSchedule, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.rollout.group import Group
from hpt_core.rollout.hint import chance_at, hinted
from hpt_core.trainer.algorithm_options import mu, options_at, regularisers_of
from hpt_core.trainer.measures.throughput import flops
from hpt_core.trainer.sft_buffer import SFTBuffer
from hpt_core.upge import ALGORITHMS

ROLLOUT = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=12)


def config(**keys: object) -> TrainConfig:
    return TrainConfig(steps=3, prompts_per_step=2, optimizer=OptimizerConfig(lr=1e-3), **keys)


def test_mu_rises_falls_and_stays() -> None:
    schedule = MixSchedule(peak=0.5, valley=0.1, warmup_steps=2, decay_steps=4)
    values = [mu(schedule, step) for step in range(1, 10)]
    assert values == pytest.approx([0, 0.25, 0.5, 0.4414213562, 0.3, 0.1585786438, 0.1, 0.1, 0.1])


def test_chord_is_scheduled_as_published_and_phi_is_constant() -> None:
    chord = config(algorithm="chord")
    assert options_at(chord, ROLLOUT, 1)["mu"] == 0.9
    assert options_at(chord, ROLLOUT, 101)["mu"] == pytest.approx(0.475)
    assert options_at(chord, ROLLOUT, 500)["mu"] == 0.05
    assert {options_at(config(algorithm="chord_phi"), ROLLOUT, step)["mu"] for step in (1, 50, 500)} == {0.1}
    own = config(algorithm="chord", mu=MixSchedule(peak=0.3, valley=0.3))
    assert options_at(own, ROLLOUT, 7)["mu"] == 0.3


def test_what_is_left_out_stays_as_published() -> None:
    assert not {"clip", "sft_coefficient", "mu"} & options_at(config(algorithm="uft"), ROLLOUT, 1).keys()
    assert ALGORITHMS["uft"].options.sft_coefficient == 0.001
    given = options_at(config(algorithm="uft", clip=[0.1, 0.3], sft_coefficient=0.5), ROLLOUT, 1)
    assert (given["clip"], given["sft_coefficient"]) == ((0.1, 0.3), 0.5)


def test_only_ppo_has_a_value_loss() -> None:
    assert regularisers_of(config(algorithm="ppo")).value == 0.1
    assert not regularisers_of(config(algorithm="grpo"))


def test_the_buffer_is_first_in_first_out_and_takes_a_prompt_once() -> None:
    buffer = SFTBuffer(3)
    buffer.add(["a", "b", "a"])
    assert buffer.take() == []
    buffer.add(["b", "c", "d"])
    assert buffer.take() == ["a", "b", "c"]
    buffer.add(["a"])
    assert list(buffer.waiting) == ["d", "a"]


def test_the_buffer_comes_back_from_the_records() -> None:
    rows = [
        {"step": step, "prompt_id": prompt, "pass_rate": rate, "trajectory_id": expert}
        for step, prompt, rate, expert in [
            (1, "a", 0.0, "t"),
            (1, "b", 0.5, "t"),
            (1, "c", 0.0, None),
            (2, "d", 0.0, "t"),
            (2, "e", 0.0, "t"),
        ]
    ]
    assert list(SFTBuffer.replay(2, rows[:3]).waiting) == ["a"]
    assert list(SFTBuffer.replay(2, rows).waiting) == ["e"], "a and d left after step 2"


HINT = HintConfig(slices=4, high=0.95, low=0.05, steps=10)


def test_hints_fade() -> None:
    assert chance_at(HINT, 5) == pytest.approx(0.5)
    assert chance_at(HINT, 10) == pytest.approx(0.05)
    assert chance_at(HINT, 11) == 0.0


def test_a_hint_is_a_part_of_the_demonstration(make_group: Callable[..., Group]) -> None:
    tasks = [make_group(f"{i} + {i}", [0.0], "human").task for i in range(40)]
    tasks.append(replace(make_group("none", [0.0]).task))
    given = hinted(tasks, HINT, 5, seed=1, decode=lambda ids: f"{len(ids)} tokens")
    assert given == hinted(tasks, HINT, 5, seed=1, decode=lambda ids: f"{len(ids)} tokens")
    assert given != hinted(tasks, HINT, 4, seed=1, decode=lambda ids: f"{len(ids)} tokens")
    for task, hint in zip(tasks, given, strict=True):
        shown = hint.demonstration
        assert hint.tokens == task.tokens + shown and shown == task.demonstration[: len(shown)]
        assert hint.opening == f"{len(shown)} tokens"
        assert len(shown) in {round(j / 4 * len(task.demonstration[:-1])) for j in range(5)} | {0}
    # Half of the slices on average; the standard error of the mean over 40 x 4 draws is 0.04.
    share = [
        len(h.demonstration) / (len(t.demonstration) - 1) for t, h in zip(tasks[:-1], given, strict=False)
    ]
    assert sum(share) / 40 == pytest.approx(0.5, abs=0.16)
    assert all(task.demonstration == [] for task in hinted(tasks, HINT, 11, seed=1, decode=lambda ids: ""))


def test_flops_are_those_of_the_matrices(policy: object) -> None:
    model = policy.model
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2)
    counted = (
        matrices
        if model.config.tie_word_embeddings
        else matrices - model.get_input_embeddings().weight.numel()
    )
    expected = 6 * counted * 30 + 6 * 2 * 32 * (10**2 + 20**2)
    assert flops(model, [10, 20]) == expected
