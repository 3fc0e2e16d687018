"""The gradient of a mini-batch is the same for every cut into micro-batches and every row order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.types import Rows

LENGTH = 16


def whole(name, batch):
    return torch.autograd.grad(upge.loss(name, batch, length=LENGTH), batch.logp)[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", upge.ALGORITHMS)
def test_any_cut_and_order(name, seed, ragged, cut, leaf):
    batch = ragged(seed)
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch.group), generator=draw)
    sizes = torch.randint(0, 8, (len(order),), generator=draw).tolist()

    planned = upge.plan(name, cut(batch, order).rows, length=LENGTH)
    collected = torch.zeros_like(batch.logp)
    start = 0
    for size in [*sizes, len(order)]:
        here = order[start : start + size]
        part = leaf(cut(batch, here))
        upge.surrogate(name, part, planned[start : start + size], length=LENGTH).backward()
        collected[here] = part.logp.grad
        start += size

    assert_close(collected, whole(name, batch), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", upge.ALGORITHMS)
def test_inactive_rows_need_no_forward_pass(name, ragged, cut, leaf):
    """Leaving them out of the token phase changes nothing; they still count in the denominators."""
    batch = ragged(1)
    planned = upge.plan(name, batch.rows, length=LENGTH)
    rows = planned.active.nonzero()[:, 0]
    assert 0 < len(rows) < len(batch.group)

    part = leaf(cut(batch, rows))
    upge.surrogate(name, part, planned[rows], length=LENGTH).backward()
    expected = whole(name, batch)
    assert_close(part.logp.grad, expected[rows], rtol=1e-9, atol=0)
    assert not expected[~planned.active].any()


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "cispo", "gspo", "hpt"])
def test_groups_of_equal_rewards_are_inactive_to_the_last_bit(name):
    """Ten times 0.1 does not average to 0.1 in binary."""
    rows = Rows(
        torch.tensor([0.1] * 10 + [0.0, 1.0], dtype=torch.float64),
        torch.tensor([0] * 10 + [1] * 2),
        torch.zeros(12, dtype=torch.bool),
        torch.full((12,), 5),
    )
    planned = upge.plan(name, rows, length=LENGTH)
    assert planned.active.tolist() == [False] * 10 + [True] * 2
    assert planned.advantage[:10].tolist() == [0.0] * 10


def test_padding_does_not_matter(ragged):
    batch = ragged(2)
    wide = {
        field: torch.nn.functional.pad(getattr(batch, field).detach(), (0, 3), value=value)
        for field, value in (("logp", torch.nan), ("logp_old", torch.nan), ("mask", False))
    }
    wide["logp"].requires_grad_()
    padded = replace(batch, **wide)
    for name in upge.ALGORITHMS:
        assert_close(whole(name, padded)[:, :-3], whole(name, batch), rtol=0, atol=0)


def test_float32_far_off_policy_is_finite(ragged):
    """A ratio that overflows float32 is masked or truncated, never 0 * inf."""
    batch = ragged(3)
    for shift in (-500.0, 500.0):
        far = replace(
            batch,
            logp=batch.logp.detach().float().requires_grad_(),
            logp_old=batch.logp_old.float() + shift,
        )
        for name in ("grpo", "cispo", "gspo", "luffy"):
            assert whole(name, far).isfinite().all(), (name, shift)


@pytest.mark.parametrize("name", ["grpo", "cispo", "gspo", "hpt"])
def test_inactive_rows_need_no_old_log_probabilities(name, ragged):
    batch = ragged(4)
    active = upge.plan(name, batch.rows, length=LENGTH).active
    unknown = replace(batch, logp_old=batch.logp_old.masked_fill(~active[:, None], torch.nan))
    assert_close(whole(name, unknown), whole(name, batch), rtol=0, atol=0)
