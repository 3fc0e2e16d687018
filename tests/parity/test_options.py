"""Options of users of other systems: dual clip, masks of whole rows, the penalty for long responses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from published import PUBLISHED, options
from published.rows import LENGTH, rollouts_by_prompt
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.gate import Switch
from hpt_core.types import Tokens
from hpt_core.upge import regularise
from hpt_core.upge.importance import kept_rows
from hpt_core.upge.options import Options, SequenceMask
from hpt_core.upge.stable import clip

CLIPPED = [
    name for name, entry in upge.ALGORITHMS.items() if entry.rollouts and entry.rollouts.stable is clip
]
SHORT = 9
"""L of the tests of the penalty: the longest row of a ragged batch."""


def gradient(scalar: Tensor, batch: Tokens) -> Tensor:
    return torch.autograd.grad(scalar, batch.logp)[0]


def agree(ours: Tensor, published: Tensor, batch: Tokens) -> None:
    found = gradient(ours, batch)
    assert found.abs().max() > 1e-3
    assert_close(found, gradient(published, batch), rtol=1e-9, atol=1e-12)


def with_sampler(batch: Tokens, seed: int) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    noise = 0.3 * torch.randn(batch.mask.shape, generator=draw, dtype=torch.float64)
    unknown = ~batch.mask | batch.expert[:, None]
    return replace(batch, logp_sampled=(batch.logp_old + noise).masked_fill(unknown, torch.nan))


@pytest.mark.parametrize("c", [1.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_dual_clip_is_verls_and_trls(seed, c, ragged):
    batch = ragged(seed)
    agree(upge.loss("dapo", batch, clip=0.2, clip_ratio_c=c), options.dual_clip(batch, c), batch)
    agree(upge.loss("dapo", batch, clip=0.2, clip_ratio_c=c), options.two_sided(batch, c), batch)


@pytest.mark.parametrize("name", CLIPPED)
def test_dual_clip_takes_tokens_of_failed_rollouts_alone(name, ragged_for):
    batch = ragged_for(name, 1)
    plain, dual = (upge.token_weights(name, batch, length=LENGTH, **o) for o in ({}, {"clip_ratio_c": 1.5}))
    lost = (plain != 0) & (dual == 0)
    assert lost.any() and (plain[lost] < 0).all() and not batch.expert[lost.any(1)].any()
    assert torch.equal(plain[~lost], dual[~lost])
    planned = upge.plan(name, batch.rows, length=LENGTH)
    counted = upge.clipped(name, batch, planned, length=LENGTH, clip_ratio_c=1.5)
    assert counted[lost].all()


@pytest.mark.parametrize("statistic", ["geometric", "product"])
@pytest.mark.parametrize("ratio", ["sampler", "old"])
@pytest.mark.parametrize("seed", range(3))
def test_masks_of_rows_are_skyrls(seed, ratio, statistic, ragged):
    batch = with_sampler(ragged(seed), seed)
    low, high = {"geometric": (0.8, 1.3), "product": (0.5, 2.0) if ratio == "sampler" else (0.2, 5.0)}[
        statistic
    ]
    mask = SequenceMask(low, high, ratio, statistic)
    planned = upge.plan("grpo", batch.rows)
    kept = kept_rows(batch, Options(sequence_mask=mask))[planned.active]
    assert 0.05 < kept.double().mean() < 0.95
    ours = upge.loss("dapo", batch, clip=0.2, sequence_mask=mask)
    agree(ours, options.sequence_masked(batch, low, high, ratio, statistic), batch)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_mask_takes_whole_rollouts_and_no_demonstration(name, ragged_for):
    batch = with_sampler(ragged_for(name, 2), 2)
    mask = SequenceMask(0.9, 1.1)
    plain = gradient(upge.loss(name, batch, length=LENGTH), batch)
    masked = gradient(upge.loss(name, batch, length=LENGTH, sequence_mask=mask), batch)
    out = ~kept_rows(batch, Options(sequence_mask=mask))
    assert out.any() and not (out & batch.expert).any()
    assert not masked[out].any()
    assert_close(masked[~out], plain[~out], rtol=0, atol=0)


def test_a_mask_without_the_sampler_s_word_is_refused(ragged):
    with pytest.raises(ValueError, match=r"sequence_mask compares with pi_sampler.*logp_sampled"):
        upge.loss("grpo", ragged(6), sequence_mask=SequenceMask(0.9, 1.1))
    assert upge.loss("grpo", ragged(6), sequence_mask=SequenceMask(0.9, 1.1, "old")).isfinite()


@pytest.mark.parametrize(("buffer", "penalty"), [(4, 1.0), (9, 0.5), (1, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_the_penalty_for_long_responses_is_dapos(seed, buffer, penalty, ragged):
    batch = ragged(seed)
    keys = {"overlong_buffer": buffer, "overlong_penalty": penalty, "length": SHORT}
    plain = gradient(upge.loss("dapo", batch), batch)
    assert not torch.allclose(gradient(upge.loss("dapo", batch, **keys), batch), plain)
    agree(upge.loss("dapo", batch, **keys), options.overlong(batch, buffer, penalty, SHORT), batch)


def test_half_a_reward_is_dapos_penalty_where_rewards_are_one_and_minus_one(ragged):
    """A z-score does not change where rewards are scaled, up to the epsilon below the std."""
    batch = ragged(4)
    apart = replace(batch, reward=2 * batch.reward - 1)
    ours = gradient(upge.loss("dapo", batch, overlong_buffer=4, length=SHORT), batch)
    published = gradient(options.overlong(apart, 4, 1.0, SHORT), apart)
    assert_close(ours, published, rtol=1e-4, atol=1e-7)


def test_the_penalty_does_not_move_the_pass_rate_of_a_gate(ragged):
    """Every rollout is as long as it may be: the penalty is 0.9, P is as verified, and nothing else
    changes."""
    batch = ragged(9, expert_every=1)
    batch = replace(
        batch,
        mask=torch.ones_like(batch.mask),
        **{name: getattr(batch, name).nan_to_num(-0.5) for name in ("logp_old", "entropy", "value")},
    )
    batch = replace(batch, logp=batch.logp.detach().nan_to_num(-0.5).requires_grad_())
    keys = {"length": batch.mask.shape[1], "gate": Switch(0.5)}
    plain, punished = (
        upge.plan("hpt", batch.rows, **keys, **more)
        for more in ({}, {"overlong_buffer": 2, "overlong_penalty": 0.9})
    )
    assert torch.equal(plain.kept, punished.kept)
    assert torch.equal(plain.active & batch.expert, punished.active & batch.expert)
    assert_close(punished.advantages[0], plain.advantages[0], rtol=0, atol=1e-12)
    assert_close(punished.advantages[1], plain.advantages[1], rtol=0, atol=0)


def test_equal_verdicts_of_other_lengths_are_told_apart(ragged):
    batch = ragged(5)
    solved = replace(batch, reward=torch.ones_like(batch.reward))
    assert not upge.plan("grpo", solved.rows).active.any()
    active = upge.plan("grpo", solved.rows, overlong_buffer=4, length=SHORT).active
    for rows in rollouts_by_prompt(batch):
        over = {max(int(n) - (SHORT - 4), 0) for n in batch.mask.sum(1)[rows]}
        assert active[rows].any().item() == (len(over) > 1)


def test_values_learn_the_reward_that_the_advantage_has(ragged):
    rows = ragged(3).rows
    keys = Options(overlong_buffer=9, overlong_penalty=1.0, length=SHORT)
    moved = regularise.returns(rows, Options()) - regularise.returns(rows, keys)
    last = torch.arange(rows.value.shape[1]) == rows.length[:, None] - 1
    expected = torch.where(rows.expert, 0.0, rows.length.double() / 9)
    assert_close(moved[last][~rows.expert], expected[~rows.expert])


def test_the_penalty_needs_the_longest_response(ragged):
    for keys in ({}, {"length": 3}):
        with pytest.raises(ValueError, match=r"length"):
            upge.plan("dapo", ragged(0).rows, overlong_buffer=4, **keys)
