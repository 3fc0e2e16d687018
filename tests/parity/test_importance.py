"""Truncated importance sampling: every token of a rollout weighs min(pi_old / pi_sampler, C), detached."""

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

CAP = 1.2


def gradient(scalar: Tensor, batch: Tokens) -> Tensor:
    return torch.autograd.grad(scalar, batch.logp)[0]


def with_sampler(batch: Tokens, seed: int) -> Tokens:
    """What a sampler of other kernels said; of demonstrations and padding nothing that may be read."""
    draw = torch.Generator().manual_seed(seed)
    noise = 0.5 * torch.randn(batch.mask.shape, generator=draw, dtype=torch.float64)
    unknown = ~batch.mask | batch.expert[:, None]
    return replace(batch, logp_sampled=(batch.logp_old + noise).masked_fill(unknown, torch.nan))


def corrections(batch: Tokens, row: int, cap: float) -> Tensor:
    said = batch.mask[row]
    return (batch.logp_old[row][said] - batch.logp_sampled[row][said]).exp().clamp(max=cap)


def grpo(batch: Tokens, cap: float) -> Tensor:
    """The correction outside of PPO's clip, as its authors train (Yao et al. 2025)."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append((corrections(batch, i, cap) * ppo_clip(ratio(batch, i), a)).mean())
    return -torch.stack(terms).mean()


def reinforce(batch: Tokens, cap: float) -> Tensor:
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    terms = [reward(batch, i) * (corrections(batch, i, cap) * logp(batch, i)).sum() for i in rows]
    return -sum(terms) / len(rows)


def dr_grpo(batch: Tokens, cap: float) -> Tensor:
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, centred(batch, rollouts), strict=True):
            terms.append((corrections(batch, i, cap) * ppo_clip(ratio(batch, i), a)).sum() / LENGTH)
    return -torch.stack(terms).mean()


CORRECTED: dict[str, Callable[[Tokens, float], Tensor]] = {
    "grpo": grpo,
    "reinforce": reinforce,
    "dr_grpo": dr_grpo,
}


@pytest.mark.parametrize("cap", [CAP, 0.7, 1e6])
@pytest.mark.parametrize("name", CORRECTED)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_corrected_surrogate(name, seed, cap, ragged):
    batch = with_sampler(ragged(seed), seed)
    ours = gradient(upge.loss(name, batch, length=LENGTH, importance_cap=cap), batch)
    assert ours.abs().max() > 1e-3
    assert_close(ours, gradient(CORRECTED[name](batch, cap), batch), rtol=1e-9, atol=1e-12)


def test_both_sides_of_the_cap_are_tried(ragged):
    batch = with_sampler(ragged(0), 0)
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    drawn = torch.cat([corrections(batch, i, CAP) for i in rows])
    assert 0.2 < (drawn == CAP).double().mean() < 0.8 and drawn.min() < 0.5


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_a_cap_nothing_is_corrected(name, ragged_for):
    batch = ragged_for(name, 4)
    plain = gradient(upge.loss(name, batch, length=LENGTH), batch)
    known = with_sampler(batch, 4)
    assert_close(gradient(upge.loss(name, known, length=LENGTH), known), plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_demonstrations_are_never_corrected(name, ragged_for):
    batch = ragged_for(name, 5)
    known = with_sampler(batch, 5)
    plain = gradient(upge.loss(name, batch, length=LENGTH), batch)
    corrected = gradient(upge.loss(name, known, length=LENGTH, importance_cap=CAP), known)
    assert_close(corrected[batch.expert], plain[batch.expert], rtol=0, atol=0)
    moved = (corrected != plain)[~batch.expert].any()
    assert moved == bool(plain[~batch.expert].any()), "rollouts with a gradient are"


def test_a_cap_without_the_sampler_s_word_is_refused(ragged):
    batch = ragged(6)
    with pytest.raises(ValueError, match=r"importance_cap weighs by pi_sampler.*logp_sampled"):
        upge.loss("grpo", batch, length=LENGTH, importance_cap=CAP)
    assert upge.loss("sft", cut_to_experts(batch), importance_cap=CAP).isfinite()


def cut_to_experts(batch: Tokens) -> Tokens:
    rows = batch.expert.nonzero().squeeze(1)
    parts = {name: None if value is None else value[rows] for name, value in vars(batch).items()}
    return Tokens(**parts)
