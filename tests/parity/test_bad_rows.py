"""Rows that an algorithm cannot use raise, and the message says which and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpt_core import upge
from hpt_core.gate import FormulaGate, Switch, Table
from hpt_core.types import RowInfo

NAN = float("nan")
DEMONSTRATIONS_ALONE = ["sft", "dft", "psft", "trsft"]
ROLLOUTS_ALONE = ["reinforce", "rloo", "ppo", "grpo", "dr_grpo", "dapo", "cispo", "cispo_mask", "gspo"]
ROLLOUTS_ALONE += ["gmpo", "sapo", "maxrl", "rloo_verl", "rloo_trl", "cispo_trl", "gspo_paper"]
OVER_BOTH = ["luffy", "luffy_script", "rl_plus", "srft", "srft_script"]
"""Their baseline is over rollouts and demonstration together."""
IMITATING = ["chord", "chord_phi", "relift", "relift_first", "uft", "trapo"]
BOTH = [*OVER_BOTH, *IMITATING, "hpt"]
CONSTANT = ["dr_grpo", "luffy_script", "rl_plus", "srft", "srft_script", "relift_first", "trapo", "hpt"]
BASELINE = sorted({*ROLLOUTS_ALONE, *BOTH} - {"reinforce", "ppo", *OVER_BOTH})


def rows(reward, group, expert, length=None):
    length = torch.tensor(length or [4] * len(group))
    value = torch.zeros(len(group), 4)
    return RowInfo(torch.tensor(reward), torch.tensor(group), torch.tensor(expert), length, value)


def test_these_are_all():
    assert {*DEMONSTRATIONS_ALONE, *ROLLOUTS_ALONE, *BOTH} == set(upge.ALGORITHMS)


@pytest.mark.parametrize("name", [*BASELINE, *OVER_BOTH])
def test_a_group_of_one_has_no_baseline(name):
    # Demonstrations of the first prompt, so that nobody is without one.
    batch = rows([1.0, 0.0, 1.0, 1.0], [7, 7, 7, 42], [False, False, True, False])
    with pytest.raises(ValueError, match=r"group 42 .*rollout\.group_size"):
        upge.plan(name, batch, length=8)


@pytest.mark.parametrize("name", ["reinforce", "ppo", *DEMONSTRATIONS_ALONE])
def test_a_group_of_one_will_do_without_a_baseline(name):
    batch = rows([1.0, 1.0], [7, 42], [False, True])
    assert upge.plan(name, batch).active.tolist() == [name in ROLLOUTS_ALONE, name in DEMONSTRATIONS_ALONE]


@pytest.mark.parametrize("name", [*BASELINE, *OVER_BOTH])
def test_a_group_of_one_with_a_demonstration_is_enough_where_both_are_the_baseline(name):
    pair = rows([0.0, 1.0], [1, 1], [False, True])
    if name in OVER_BOTH:
        assert upge.plan(name, pair, length=8).active.all()
    else:
        with pytest.raises(ValueError, match="group 1 "):
            upge.plan(name, pair, length=8)


def test_a_demonstration_without_rollouts_has_no_pass_rate():
    with pytest.raises(ValueError, match=r"group 9 .*sample rollouts"):
        upge.plan("hpt", rows([1.0, 0.0, 1.0], [3, 3, 9], [False, False, True]), length=8)


@pytest.mark.parametrize("name", IMITATING)
def test_a_demonstration_of_another_prompt_needs_no_rollouts(name):
    """ReLIFT's come out of a buffer, CHORD's of a data set of their own."""
    planned = upge.plan(name, rows([1.0, 0.0, 1.0], [3, 3, 9], [False, False, True]), length=8)
    assert planned.active.all()


@pytest.mark.parametrize("name", DEMONSTRATIONS_ALONE)
def test_a_method_of_demonstrations_needs_some(name):
    with pytest.raises(ValueError, match="trains on demonstrations, and none of the 2 rows"):
        upge.plan(name, rows([1.0, 0.0], [3, 3], [False, False]))


@pytest.mark.parametrize("name", ROLLOUTS_ALONE)
def test_a_method_of_rollouts_needs_some(name):
    with pytest.raises(ValueError, match="trains on rollouts, and none of the 2 rows"):
        upge.plan(name, rows([1.0, 0.0], [3, 4], [True, True]), length=8)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_denominator_needs_its_length(name):
    for length in ({}, {"length": 0}):
        with pytest.raises(ValueError, match="length=max_new_tokens"):
            upge.plan(name, rows([1.0, 0.0], [3, 3], [False, False]), **length)


def test_ppo_needs_values():
    batch = replace(rows([1.0, 0.0], [3, 3], [False, False]), value=None)
    with pytest.raises(ValueError, match=r"ppo needs V of every token .*value="):
        upge.plan("ppo", batch)


def test_srft_needs_entropies(ragged):
    batch = replace(ragged(0), entropy=None)
    with pytest.raises(ValueError, match=r"srft .*entropy; pass Tokens\(entropy="):
        upge.loss("srft", batch)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'gpro'.*sft.*grpo.*hpt"):
        upge.algorithm("gpro")


def test_an_unknown_option_raises():
    with pytest.raises(TypeError, match="gama"):
        upge.plan("hpt", rows([1.0, 0.0], [3, 3], [False, False]), gama=0.5)


@pytest.mark.parametrize("name", [*ROLLOUTS_ALONE, *BOTH])
def test_a_reward_that_is_no_number_raises(name):
    batch = rows([NAN, 0.0, 1.0, 0.0, 1.0, 1.0], [3, 3, 4, 4, 3, 4], [False] * 4 + [True] * 2)
    with pytest.raises(ValueError, match=r"groups \[3\]"):
        upge.plan(name, batch, length=8)


@pytest.mark.parametrize("name", ["sft", "dft", "psft", "trsft"])
def test_the_reward_of_a_rollout_is_not_read_where_rollouts_are_not_trained_on(name):
    planned = upge.plan(name, rows([NAN, 0.0, 1.0], [3, 3, 3], [False, False, True]))
    assert planned.active.tolist() == [False, False, True]


@pytest.mark.parametrize("gate", [Switch(1.0), Table(), FormulaGate(lambda p: p**0, lambda p: p**0)])
def test_a_gate_does_not_drop_a_reward_that_is_no_number(gate):
    """Compared with a threshold, NaN is on neither side."""
    with pytest.raises(ValueError, match=r"groups \[3\]"):
        upge.plan("hpt", rows([NAN, 0.0, 1.0], [3, 3, 3], [False, False, True]), length=8, gate=gate)


@pytest.mark.parametrize("name", [*DEMONSTRATIONS_ALONE, *IMITATING, "hpt"])
def test_the_reward_of_a_demonstration_is_not_read_where_it_is_only_imitated(name):
    planned = upge.plan(name, rows([0.0, 0.0, NAN], [3, 3, 3], [False, False, True]), length=8)
    assert planned.active.tolist() == [False, False, True]
    *_, imitation = (a for a in planned.advantages if a[2])
    assert imitation[:, 0].tolist() == [0.0, 0.0, imitation[2]]


@pytest.mark.parametrize("name", OVER_BOTH)
def test_the_reward_of_a_demonstration_is_read_where_it_is_in_the_baseline(name):
    with pytest.raises(ValueError, match=r"groups \[3\]"):
        upge.plan(name, rows([0.0, 0.0, NAN], [3, 3, 3], [False, False, True]), length=8)


def test_the_soft_gate_reads_the_reward_of_a_demonstration_where_it_trains_on_it_by_rl():
    solved_none = rows([0.0, 0.0, NAN], [3, 3, 3], [False, False, True])
    assert upge.plan("hpt", solved_none, length=8, gate=Table()).active.tolist() == [False, False, True]
    solved_half = rows([1.0, 0.0, NAN], [3, 3, 3], [False, False, True])
    with pytest.raises(ValueError, match=r"groups \[3\]"):
        upge.plan("hpt", solved_half, length=8, gate=Table())


@pytest.mark.parametrize("name", upge.ALGORITHMS)
def test_a_response_of_no_tokens_counts_in_its_group_and_trains_nothing(name):
    batch = rows([1.0, 0.0, 1.0, 1.0], [3, 3, 3, 4], [False, False, True, True], length=[4, 0, 4, 0])
    if name in (*OVER_BOTH, "hpt"):
        batch = replace(batch, group=torch.tensor([3, 3, 3, 3]))
    planned = upge.plan(name, batch, length=8)
    assert not planned.active[1] and not planned.active[3] and not planned.kept[1]
    assert all(denominator.isfinite().all() for denominator in planned.denominators)
    assert all(advantage.isfinite().all() for advantage in planned.advantages)


def test_a_response_of_no_tokens_has_its_share_of_the_mean():
    planned = upge.plan("grpo", rows([1.0, 0.0], [3, 3], [False, False], length=[4, 0]))
    assert planned.active.tolist() == [True, False]
    assert planned.denominators[0][0] == 2 * 4
    assert planned.advantages[0][0] > 0


def test_a_prompt_without_a_demonstration_is_left_to_rl():
    """P = 1/2 <= gamma asks for an expert; the prompt that has none keeps its rollouts."""
    batch = rows([1.0, 0.0, 1.0, 1.0, 0.0], [3, 3, 3, 4, 4], [False, False, True, False, False])
    planned = upge.plan("hpt", batch, length=8, gamma=0.5)
    assert planned.active.tolist() == [False, False, True, True, True]
    soft = upge.plan("hpt", batch, length=8, gate=Table())
    assert soft.advantages[0][:, 0].tolist() == [0.25, -0.25, 0.0, 0.5, -0.5]


def test_a_gate_of_ones_own():
    batch = rows([1.0, 0.0, 0.0, 0.0, 1.0], [3, 3, 3, 3, 3], [False] * 4 + [True])
    gate = FormulaGate(lambda p: p, lambda p: 1 - p)
    planned = upge.plan("hpt", batch, length=8, gate=gate, sft_coefficient=2.0)
    rollouts, imitation, offline = planned.advantages
    assert rollouts[:, 0].tolist() == [0.25 * 0.75, *[0.25 * -0.25] * 3, 0.0]
    assert imitation[:, 0].tolist() == [0.0] * 4 + [0.75 * 2.0]
    assert not offline.any()


def test_a_gate_of_ones_own_with_rl_on_the_demonstration():
    batch = rows([1.0, 0.0, 0.0, 0.0, 0.5], [3, 3, 3, 3, 3], [False] * 4 + [True])
    gate = FormulaGate(lambda p: p, lambda p: 1 - p, lambda p: p / 2)
    planned = upge.plan("hpt", batch, length=8, gate=gate, sft_coefficient=2.0)
    assert planned.advantages[2][:, 0].tolist() == [0.0] * 4 + [0.125 * 0.5]
