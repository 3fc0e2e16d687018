"""Rows that an algorithm cannot use raise, and the message says which and what to do."""

from __future__ import annotations

import pytest
import torch

from hpt_core import upge
from hpt_core.gate import Mix
from hpt_core.types import Rows

NAN = float("nan")


def rows(reward, group, expert, length=None):
    length = length or [4] * len(group)
    return Rows(torch.tensor(reward), torch.tensor(group), torch.tensor(expert), torch.tensor(length))


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "cispo", "gspo", "luffy", "hpt"])
def test_a_group_of_one_has_no_baseline(name):
    with pytest.raises(ValueError, match=r"group 42 .*rollout\.group_size"):
        upge.plan(name, rows([1.0, 0.0, 1.0], [7, 7, 42], [False] * 3), length=8)


def test_a_group_of_one_with_a_demonstration_is_enough_for_luffy_alone():
    pair = rows([0.0, 1.0], [1, 1], [False, True])
    assert upge.plan("luffy", pair).active.all()
    with pytest.raises(ValueError, match="group 1 "):
        upge.plan("grpo", pair)


def test_a_demonstration_without_rollouts_has_no_pass_rate():
    with pytest.raises(ValueError, match=r"group 9 .*sample rollouts"):
        upge.plan("hpt", rows([1.0, 0.0, 1.0], [3, 3, 9], [False, False, True]), length=8)


def test_sft_needs_demonstrations():
    with pytest.raises(ValueError, match="trains on demonstrations, and none of the 2 rows"):
        upge.plan("sft", rows([1.0, 0.0], [3, 3], [False, False]))


def test_a_constant_denominator_needs_its_length():
    for name in ("dr_grpo", "hpt"):
        with pytest.raises(ValueError, match="length=max_new_tokens"):
            upge.plan(name, rows([1.0, 0.0], [3, 3], [False, False]))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'gpro'.*sft.*grpo.*hpt"):
        upge.algorithm("gpro")


def test_an_unknown_option_raises():
    with pytest.raises(TypeError, match="gama"):
        upge.plan("hpt", rows([1.0, 0.0], [3, 3], [False, False]), gama=0.5)


def test_a_reward_that_is_no_number_raises():
    with pytest.raises(ValueError, match=r"groups \[3\]"):
        upge.plan("grpo", rows([NAN, 0.0, 1.0, 0.0], [3, 3, 4, 4], [False] * 4))


def test_the_reward_of_a_demonstration_is_not_read_by_hpt():
    planned = upge.plan("hpt", rows([0.0, 0.0, NAN], [3, 3, 3], [False, False, True]), length=8)
    assert planned.active.tolist() == [False, False, True]
    assert planned.advantage.tolist() == [0.0, 0.0, 1.0]


def test_a_response_of_no_tokens_counts_in_its_group_and_trains_nothing():
    planned = upge.plan("grpo", rows([1.0, 0.0], [3, 3], [False, False], length=[4, 0]))
    assert planned.active.tolist() == [True, False]
    assert planned.denominator.isfinite().all() and planned.denominator[0] == 2 * 4


def test_a_prompt_without_a_demonstration_is_left_to_rl():
    """P = 1/2 <= gamma asks for an expert; the prompt that has none keeps its rollouts."""
    batch = rows([1.0, 0.0, 1.0, 1.0, 0.0], [3, 3, 3, 4, 4], [False, False, True, False, False])
    planned = upge.plan("hpt", batch, length=8, gamma=0.5)
    assert planned.active.tolist() == [False, False, True, True, True]


def test_a_gate_of_ones_own():
    batch = rows([1.0, 0.0, 0.0, 0.0, 1.0], [3, 3, 3, 3, 3], [False] * 4 + [True])
    gate = Mix(lambda p: p, lambda p: 1 - p)
    planned = upge.plan("hpt", batch, length=8, gate=gate, sft_coefficient=2.0)
    assert planned.advantage.tolist() == [0.25 * 0.75, *[0.25 * -0.25] * 3, 0.75 * 2.0]
