"""Importance of rollouts: every token weighs the limited pi_old / pi_sampler of itself or of its rollout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from published import PUBLISHED
from published.rows import LENGTH, centred, logp, ppo_clip, ratio, reward, rollouts_by_prompt, zscores
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.types import Tokens
from hpt_core.upge.importance import kept_rows
from hpt_core.upge.options import Importance, Options, SequenceMask

LIMITS = {
    "token TIS": Importance(1.2),
    "no limit": Importance(1e6),
    "sequence TIS": Importance(1.2, level="sequence"),
    "token MIS": Importance(1.2, kind="mask"),
    "IcePop": Importance(1.4, 0.7, kind="mask"),
    "sequence MIS": Importance(1.5, level="sequence", kind="mask"),
    "two-sided sequence MIS": Importance(2.0, 0.5, level="sequence", kind="mask"),
}


def gradient(scalar: Tensor, batch: Tokens) -> Tensor:
    return torch.autograd.grad(scalar, batch.logp)[0]


def with_sampler(batch: Tokens, seed: int) -> Tokens:
    """What a sampler of other kernels said; of demonstrations and padding nothing that may be read."""
    draw = torch.Generator().manual_seed(seed)
    noise = 0.5 * torch.randn(batch.mask.shape, generator=draw, dtype=torch.float64)
    unknown = ~batch.mask | batch.expert[:, None]
    return replace(batch, logp_sampled=(batch.logp_old + noise).masked_fill(unknown, torch.nan))


def corrections(batch: Tokens, row: int, limits: Importance) -> Tensor:
    """The weights of a rollout's tokens, one after the other."""
    said = batch.mask[row]
    ratios = (batch.logp_old[row][said] - batch.logp_sampled[row][said]).exp()
    if limits.level == "sequence":
        ratios = ratios.prod().repeat(len(ratios))
    weights = []
    for r in ratios.tolist():
        if limits.kind == "truncate":
            weights.append(min(r, limits.high))
        else:
            weights.append(r if limits.low <= r <= limits.high else 0.0)
    return torch.tensor(weights, dtype=torch.float64)


def grpo(batch: Tokens, limits: Importance) -> Tensor:
    """The correction outside of PPO's clip, as its authors train (Yao et al. 2025)."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append((corrections(batch, i, limits) * ppo_clip(ratio(batch, i), a)).mean())
    return -torch.stack(terms).mean()


def reinforce(batch: Tokens, limits: Importance) -> Tensor:
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    terms = [reward(batch, i) * (corrections(batch, i, limits) * logp(batch, i)).sum() for i in rows]
    return -sum(terms) / len(rows)


def dr_grpo(batch: Tokens, limits: Importance) -> Tensor:
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append((corrections(batch, i, limits) * ppo_clip(ratio(batch, i), a)).sum() / LENGTH)
    return -torch.stack(terms).mean()


CORRECTED: dict[str, Callable[[Tokens, Importance], Tensor]] = {
    "grpo": grpo,
    "reinforce": reinforce,
    "dr_grpo": dr_grpo,
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("name", CORRECTED)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_corrected_surrogate(name, seed, limits, ragged):
    """With the denominators of all rollouts, masked ones and masked tokens included."""
    batch = with_sampler(ragged(seed), seed)
    ours = gradient(upge.loss(name, batch, length=LENGTH, importance=limits), batch)
    assert ours.abs().max() > 1e-3
    assert_close(ours, gradient(CORRECTED[name](batch, limits), batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_gradient_is_weighed_token_by_token(name, limits, ragged_for):
    batch = with_sampler(ragged_for(name, 5), 5)
    expected = gradient(PUBLISHED[name](batch), batch)
    plain = expected.clone()
    for rollouts in rollouts_by_prompt(batch):
        for i in rollouts:
            expected[i, : int(batch.mask[i].sum())] *= corrections(batch, i, limits)
    ours = gradient(upge.loss(name, batch, length=LENGTH, importance=limits), batch)
    assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    assert bool((ours != plain)[~batch.expert].any()) == bool(plain[~batch.expert].any())


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_all_sides_of_the_limits_are_tried(limits, ragged):
    batch = with_sampler(ragged(0), 0)
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    unlimited = replace(limits, high=1e9, low=0.0)
    drawn = torch.cat([corrections(batch, i, unlimited) for i in rows])
    assert drawn.min() < 0.5
    assert 0.2 < (drawn > limits.high).double().mean() < 0.8 or limits.high > 100
    assert limits.low == 0 or 0.1 < (drawn < limits.low).double().mean() < 0.5


@pytest.mark.parametrize("statistic", ["geometric", "product"])
def test_weights_of_tokens_stand_beside_masks_of_rollouts(statistic, ragged):
    """Token TIS of the rollouts whose geometric mean, or product, is inside (verl's rollout_rs)."""
    batch = with_sampler(ragged(2), 2)
    limits, low, high = Importance(1.2), 0.8, 1.25
    mask = SequenceMask(low, high, "sampler", statistic)
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            product = corrections(batch, i, Importance(1e9, level="sequence"))[0].item()
            of_row = product if statistic == "product" else product ** (1 / int(batch.mask[i].sum()))
            inside = low <= of_row <= high
            terms.append(inside * (corrections(batch, i, limits) * ppo_clip(ratio(batch, i), a)).mean())
    both = upge.loss("grpo", batch, length=LENGTH, importance=limits, sequence_mask=mask)
    ours = gradient(both, batch)
    assert ours.abs().max() > 1e-3
    assert_close(ours, gradient(-torch.stack(terms).mean(), batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_rollout_is_kept_if_a_token_of_it_weighs_something(limits, ragged):
    batch = with_sampler(ragged(1), 1)
    expected = batch.expert.clone()
    for rollouts in rollouts_by_prompt(batch):
        for i in rollouts:
            expected[i] = bool(corrections(batch, i, limits).any())
    assert torch.equal(kept_rows(batch, Options(importance=limits)), expected)
    assert expected.all() == (limits.kind == "truncate")
    rows, tokens = upge.masked("grpo", batch, importance=limits)
    assert not rows.any() and not tokens[batch.expert].any() and not tokens[~batch.mask].any()
    assert torch.equal((batch.mask & ~tokens).any(1), expected)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_policies_without_a_word_in_common_weigh_finitely(limits, ragged):
    for shift in (-500.0, 500.0):
        batch = ragged(3)
        far = replace(
            batch,
            logp=batch.logp.detach().float().requires_grad_(),
            logp_old=batch.logp_old.float(),
            logp_sampled=batch.logp_old.float() + shift,
        )
        assert gradient(upge.loss("grpo", far, length=LENGTH, importance=limits), far).isfinite().all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_the_option_nothing_is_corrected(name, ragged_for):
    batch = ragged_for(name, 4)
    plain = gradient(upge.loss(name, batch, length=LENGTH), batch)
    known = with_sampler(batch, 4)
    assert_close(gradient(upge.loss(name, known, length=LENGTH), known), plain, rtol=0, atol=0)


def test_weights_without_the_sampler_s_word_are_refused(ragged):
    batch, limits = ragged(6), Importance(1.2)
    with pytest.raises(ValueError, match=r"importance compares with pi_sampler.*logp_sampled"):
        upge.loss("grpo", batch, length=LENGTH, importance=limits)
    assert upge.loss("sft", cut_to_experts(batch), importance=limits).isfinite()


def cut_to_experts(batch: Tokens) -> Tokens:
    rows = batch.expert.nonzero().squeeze(1)
    parts = {name: None if value is None else value[rows] for name, value in vars(batch).items()}
    return Tokens(**parts)
