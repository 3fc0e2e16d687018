"""The gradient of a mini-batch is the same for every cut into micro-batches and every row order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.gate import Table
from hpt_core.types import RowInfo, Tokens

LENGTH = 16
SRFT = {"srft", "srft_script"}
TRIED = [*upge.ALGORITHMS, "hpt, soft"]


def named(name: str) -> tuple[str, dict]:
    """The algorithm and its options."""
    return ("hpt", {"length": LENGTH, "gate": Table()}) if name == "hpt, soft" else (name, {"length": LENGTH})


def plan(name: str, rows: RowInfo) -> upge.Plan:
    algorithm, options = named(name)
    return upge.plan(algorithm, rows, **options)


def backward(name: str, part: Tokens, planned: upge.Plan) -> torch.Tensor:
    algorithm, options = named(name)
    upge.surrogate(algorithm, part, planned, **options).backward()
    return part.logp.grad


def whole(name: str, batch: Tokens) -> torch.Tensor:
    algorithm, options = named(name)
    return torch.autograd.grad(upge.loss(algorithm, batch, **options), batch.logp)[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", TRIED)
def test_any_cut_and_order(name, seed, ragged_for, cut, trimmed, leaf):
    """Micro-batches of no rows included, each no wider than its longest row."""
    batch = ragged_for(name, seed)
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch.group), generator=draw)
    sizes = torch.randint(0, 8, (len(order),), generator=draw).tolist()

    planned = plan(name, cut(batch, order).rows)
    collected = torch.zeros_like(batch.logp)
    start = 0
    for size in [0, *sizes, len(order)]:
        here = order[start : start + size]
        part = leaf(trimmed(cut(batch, here)))
        collected[here, : part.logp.shape[1]] = backward(name, part, planned[start : start + size])
        start += size

    assert_close(collected, whole(name, batch), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", TRIED)
def test_inactive_rows_need_no_forward_pass(name, ragged_for, cut, leaf):
    """Leaving them out of the token phase changes nothing; they still count in the denominators."""
    batch = ragged_for(name, 1)
    planned = plan(name, batch.rows)
    rows = planned.active.nonzero()[:, 0]
    assert len(rows) > 0
    # Of SRFT alone every row has a gradient: solved and failed rollouts are pushed in opposite directions.
    assert (len(rows) < len(batch.group)) != (name in SRFT)

    expected = whole(name, batch)
    found = backward(name, leaf(cut(batch, rows)), planned[rows])
    assert_close(found, expected[rows], rtol=1e-9, atol=0)
    assert not expected[~planned.active].any()


@pytest.mark.parametrize("name", TRIED)
def test_what_inactive_rows_hold_is_not_read(name, ragged_for):
    """Neither old log-probabilities nor entropies need be computed for them."""
    batch = ragged_for(name, 4)
    idle = ~plan(name, batch.rows).active[:, None]
    unknown = replace(
        batch,
        logp_old=batch.logp_old.masked_fill(idle, torch.nan),
        entropy=batch.entropy.masked_fill(idle, torch.nan),
    )
    assert_close(whole(name, unknown), whole(name, batch), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(upge.ALGORITHMS) - SRFT))
def test_nobody_else_needs_the_entropy(name, ragged_for):
    batch = ragged_for(name, 4)
    assert_close(whole(name, replace(batch, entropy=None)), whole(name, batch), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(upge.ALGORITHMS) - {"ppo"}))
def test_nobody_else_needs_values(name, ragged_for):
    batch = ragged_for(name, 4)
    assert_close(whole(name, replace(batch, value=None)), whole(name, batch), rtol=0, atol=0)


def two_groups(first: list[float], second: list[float], expert: list[int] = ()) -> RowInfo:
    """`expert` says which of the rows are demonstrations."""
    reward = torch.tensor([*first, *second], dtype=torch.float64)
    is_expert = torch.zeros(len(reward), dtype=torch.bool)
    is_expert[list(expert)] = True
    group = torch.tensor([0] * len(first) + [1] * len(second))
    # A critic that is right about the first group and undecided about the second.
    value = torch.where(group == 0, reward, 0.5)[:, None].expand(-1, 5)
    return RowInfo(reward, group, is_expert, torch.full(group.shape, 5), value)


BASELINE = [name for name in TRIED if name not in {"sft", "dft", "psft", "trsft", "reinforce", "ppo", *SRFT}]


@pytest.mark.parametrize("name", BASELINE)
@pytest.mark.parametrize("equal", [0.1, 1.0, 0.0])
def test_groups_of_equal_rewards_are_inactive_to_the_last_bit(equal, name):
    """Ten times 0.1 does not average to 0.1 in binary."""
    planned = plan(name, two_groups([equal] * 10, [0.0, 1.0]))
    assert planned.active.tolist() == [False] * 10 + [True] * 2
    for advantage in planned.advantages:
        assert not advantage[:10].any()


@pytest.mark.parametrize("name", ["luffy", "luffy_script", "rl_plus"])
def test_a_demonstration_makes_a_failed_group_unequal(name):
    """Where it stands in the baseline: rollouts that all failed are below it."""
    planned = plan(name, two_groups([0.0, 0.0, 1.0], [1.0, 1.0, 1.0], expert=[2, 5]))
    assert planned.active.tolist() == [True] * 3 + [False] * 3


def test_methods_without_a_group_baseline_have_their_own_idea_of_nothing_to_learn():
    rows = two_groups([1.0, 1.0, 0.0], [0.0, 0.0])
    assert plan("reinforce", rows).active.tolist() == [True, True, False, False, False], "R = 0"
    assert plan("ppo", rows).active.tolist() == [False, False, False, True, True], "V was right"
    assert plan("srft", rows).active.all(), "what failed is pushed down"


@pytest.mark.parametrize(
    "name", ["chord", "chord_phi", "uft", "relift", "sft", "dft", "psft", "srft", "trsft", "trapo"]
)
def test_demonstrations_of_solved_prompts_are_imitated_all_the_same(name):
    rows = two_groups([1.0, 1.0, 1.0], [0.0, 1.0], expert=[2])
    assert plan(name, rows).active[2]


def test_a_share_of_nothing_needs_no_forward_pass():
    """CHORD at mu = 0 trains on rollouts alone, at mu = 1 on demonstrations alone."""
    rows = two_groups([0.0, 1.0, 1.0], [0.0, 1.0], expert=[2])
    assert upge.plan("chord", rows, mu=0.0).active.tolist() == [True, True, False, True, True]
    assert upge.plan("chord", rows, mu=1.0).active.tolist() == [False, False, True, False, False]


def test_kept_are_the_rollouts_that_the_mix_does_not_drop():
    """What KL and entropy are taken over: rollouts of equal rewards are, those handed to SFT are not."""
    rows = two_groups([0.0, 0.0, 1.0], [1.0, 1.0], expert=[2])
    assert plan("hpt", rows).kept.tolist() == [False, False, False, True, True]
    assert plan("grpo", rows).kept.tolist() == [True, True, False, True, True]
    assert upge.plan("chord", rows, mu=1.0).kept.tolist() == [False] * 5
    assert plan("sft", rows).kept.tolist() == [False] * 5


@pytest.mark.parametrize("name", TRIED)
def test_padding_does_not_matter(name, ragged_for):
    batch = ragged_for(name, 2)
    wide = {
        field: torch.nn.functional.pad(getattr(batch, field).detach(), (0, 3), value=value)
        for field, value in (("logp", torch.nan), ("logp_old", torch.nan), ("mask", False))
    }
    for field in ("entropy", "value"):
        wide[field] = torch.nn.functional.pad(getattr(batch, field), (0, 3), value=torch.nan)
    wide["logp"].requires_grad_()
    assert_close(whole(name, replace(batch, **wide))[:, :-3], whole(name, batch), rtol=0, atol=0)


@pytest.mark.parametrize("shift", [-500.0, 500.0])
@pytest.mark.parametrize("name", TRIED)
def test_float32_far_off_policy_is_finite(name, shift, ragged_for):
    """A ratio that overflows float32 is masked or truncated, never 0 * inf."""
    batch = ragged_for(name, 3)
    far = replace(
        batch,
        logp=batch.logp.detach().float().requires_grad_(),
        logp_old=batch.logp_old.float() + shift,
        entropy=batch.entropy.float(),
    )
    assert whole(name, far).isfinite().all()


@pytest.mark.parametrize("name", TRIED)
def test_float32_is_float64_to_its_precision(name, ragged_for):
    """No constant is rounded on the way: float32 in, float32 out, and the same numbers."""
    batch = ragged_for(name, 3)
    narrow = replace(
        batch,
        logp=batch.logp.detach().float().requires_grad_(),
        logp_old=batch.logp_old.float(),
        entropy=batch.entropy.float(),
    )
    found = whole(name, narrow)
    assert found.dtype == torch.float32
    assert_close(found.double(), whole(name, batch), rtol=1e-4, atol=1e-7)
