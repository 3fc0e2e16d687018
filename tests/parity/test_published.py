"""Each entry has the gradient of its published surrogate, which published/ writes out row by row."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
import torch
from published import PUBLISHED, mixed, rollouts
from published.rows import LENGTH
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.gate import OF_SEVEN, Switch, Table
from hpt_core.types import Tokens
from hpt_core.upge import estimator

NEEDS_DEMONSTRATIONS = {"sft", "dft", "psft", "trsft", "srft", "srft_script", "chord", "chord_phi", "uft"} | {
    "relift",
    "relift_first",
}
"""Those whose surrogate above has a mean over demonstrations."""
CLIPPED = {
    "psft": (0.8, 1.28),
    "rloo_verl": (0.8, 1.2),
    "ppo": (0.8, 1.2),
    "grpo": (0.8, 1.2),
    "dr_grpo": (0.8, 1.2),
    "dapo": (0.8, 1.28),
    "cispo_mask": (0.8, 1.2),
    "gmpo": (exp(-0.4), exp(0.4)),
    "maxrl": (0.8, 1.2),
    "luffy": (0.8, 1.2),
    "chord": (0.8, 1.2),
    "chord_phi": (0.8, 1.2),
    "relift": (0.8, 1.28),
    "uft": (0.8, 1.2),
}


def gradient(scalar: Tensor, batch: Tokens) -> Tensor:
    return torch.autograd.grad(scalar, batch.logp)[0]


def agree(ours: Tensor, published: Tensor, batch: Tokens) -> None:
    ours = gradient(ours, batch)
    assert ours.abs().max() > 1e-3
    assert_close(ours, gradient(published, batch), rtol=1e-9, atol=1e-12)


def test_every_entry_is_proven():
    assert list(PUBLISHED) == list(upge.ALGORITHMS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PUBLISHED)
def test_gradient_is_the_published_one(name, seed, ragged_for):
    batch = ragged_for(name, seed)
    agree(upge.loss(name, batch, length=LENGTH), PUBLISHED[name](batch), batch)


@pytest.mark.parametrize("name", ["luffy", "luffy_script", "rl_plus", "srft", "srft_script"])
def test_one_rollout_and_its_demonstration_are_a_group(name, ragged_for):
    batch = ragged_for(name, 3, smallest=1, expert_every=1)
    agree(upge.loss(name, batch, length=LENGTH), PUBLISHED[name](batch), batch)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - NEEDS_DEMONSTRATIONS))
def test_rollouts_alone_are_enough(name, ragged):
    batch = ragged(7, expert_every=0)
    agree(upge.loss(name, batch, length=LENGTH), PUBLISHED[name](batch), batch)


@pytest.mark.parametrize("name", ["chord", "chord_phi", "relift", "relift_first", "uft", "trapo"])
def test_demonstrations_may_be_of_prompts_of_their_own(name, ragged):
    batch = ragged(8)
    apart = replace(batch, group=torch.where(batch.expert, 1000 + batch.group, batch.group))
    of_apart = gradient(upge.loss(name, apart, length=LENGTH), apart)
    assert_close(of_apart, gradient(upge.loss(name, batch, length=LENGTH), batch), rtol=0, atol=0)


@pytest.mark.parametrize(("gamma", "coefficient"), [(0.5, 1.0), (0.25, 0.3), (1.0, 2.0)])
def test_hpt_follows_gamma_and_coefficient(gamma, coefficient, ragged):
    batch = ragged(11)
    ours = upge.loss("hpt", batch, length=LENGTH, gamma=gamma, sft_coefficient=coefficient)
    agree(ours, mixed.hpt(batch, gamma, coefficient), batch)
    switched = upge.loss("hpt", batch, length=LENGTH, gate=Switch(gamma), sft_coefficient=coefficient)
    agree(switched, mixed.hpt(batch, gamma, coefficient), batch)


@pytest.mark.parametrize("coefficient", [1.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_hpt_with_the_soft_gate(seed, coefficient, ragged):
    batch = ragged(seed, expert_every=1)
    planned = upge.plan("hpt", batch.rows, length=LENGTH, gate=Table())
    assert all((advantage != 0).any() for advantage in planned.advantages), "one of its terms is not tried"
    ours = upge.loss("hpt", batch, length=LENGTH, gate=Table(), sft_coefficient=coefficient)
    agree(ours, mixed.hpt_soft(batch, coefficient), batch)


@pytest.mark.parametrize("seed", range(3))
def test_hpt_with_the_soft_gate_as_released(seed, ragged):
    batch = ragged(seed, expert_every=1)
    released, ours = (
        upge.loss("hpt", batch, length=LENGTH, gate=gate) for gate in (Table(OF_SEVEN), Table())
    )
    agree(released, mixed.hpt_soft(batch, released=True), batch)
    assert not torch.allclose(gradient(ours, batch), gradient(mixed.hpt_soft(batch, released=True), batch))


@pytest.mark.parametrize(("discount", "lam"), [(1.0, 0.95), (0.99, 0.95), (0.9, 0.0), (0.99, 1.0)])
def test_ppo_follows_discount_and_lambda(discount, lam, ragged):
    batch = ragged(12, smallest=1)
    ours = upge.loss("ppo", batch, discount=discount, gae_lambda=lam)
    agree(ours, rollouts.ppo(batch, discount, lam), batch)


@pytest.mark.parametrize("mu", [0.0, 0.02, 0.5, 0.9, 1.0])
def test_chord_follows_mu(mu, ragged):
    batch = ragged(13)
    agree(upge.loss("chord", batch, mu=mu), mixed.chord(batch, mu), batch)
    agree(upge.loss("chord_phi", batch, mu=mu), mixed.chord_phi(batch, mu), batch)


def test_uft_follows_beta(ragged):
    batch = ragged(14)
    agree(upge.loss("uft", batch, sft_coefficient=0.7), mixed.uft(batch, 0.7), batch)


@pytest.mark.parametrize("clip", [0.1, (0.3, 0.05)])
def test_the_clip_is_an_option(clip, ragged):
    low, high = clip if isinstance(clip, tuple) else (clip, clip)
    batch = ragged(15)
    agree(upge.loss("dapo", batch, clip=clip), rollouts.token_mean_grpo(batch, low, high), batch)
    agree(upge.loss("gmpo", batch, clip=clip), rollouts.gmpo(batch, low, high), batch)


@pytest.mark.parametrize("name", CLIPPED)
def test_the_batches_are_clipped_in_earnest(name, ragged_for):
    """Over a fifth of the tokens with an advantage lose their gradient, else parity would prove little."""
    low, high = CLIPPED[name]
    for seed in range(3):
        batch = ragged_for(name, seed)
        planned = upge.plan(name, batch.rows, length=LENGTH)
        kind = batch.expert if name == "psft" else ~batch.expert
        a_hat = planned.advantages[0].expand_as(batch.mask)
        tried = batch.mask & kind[:, None] & (a_hat != 0)
        signed, r = a_hat[tried], (batch.logp - batch.logp_old).exp()[tried]
        far = torch.where(signed > 0, r > high, r < low)
        assert far.double().mean() > 0.2
        assert torch.equal(upge.token_weights(name, batch, length=LENGTH)[tried] == 0, far)


@pytest.mark.parametrize("name", ["gspo", "gspo_paper", "rloo_trl"])
@pytest.mark.parametrize("seed", range(3))
def test_sequences_are_clipped_in_earnest(seed, name, ragged):
    """The ratio is that of the row, and the clip takes whole rows or nothing."""
    batch = ragged(seed)
    active = upge.plan(name, batch.rows).active
    w = upge.token_weights(name, batch)[active]
    lost = (w == 0) & batch.mask[active]
    assert lost.sum() > 0.2 * batch.mask[active].sum()
    for weight, said in zip(w, batch.mask[active], strict=True):
        assert (weight[said] == 0).all() or (weight[said] != 0).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_loss_is_the_weights_over_the_denominator(name, ragged_for):
    batch = ragged_for(name, 5)
    entry = upge.algorithm(name)
    options = replace(entry.options, length=batch.mask.shape[1])
    planned = estimator.plan(entry, batch.rows, options)
    of_parts = estimator.weights(entry, batch, planned, options)

    w = upge.token_weights(name, batch)
    assert_close(w, sum(of_parts), rtol=0, atol=0)
    assert not w.requires_grad and not w[~batch.mask].any() and not w[~planned.active].any()
    shares = zip(of_parts, planned.denominators, strict=True)
    expected = -sum(part / denominator[:, None] for part, denominator in shares)
    assert_close(gradient(upge.loss(name, batch), batch), expected, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"srft", "srft_script"}))
def test_every_row_has_one_denominator(name, ragged_for):
    """d loss / d logp = - w / denominator, for all but SRFT, whose demonstrations stand in two means."""
    batch = ragged_for(name, 6)
    planned = upge.plan(name, batch.rows, length=batch.mask.shape[1])
    entry = upge.algorithm(name)
    own = torch.full(batch.group.shape, torch.nan, dtype=torch.float64)
    for part, denominator in zip(entry.parts(batch.expert), planned.denominators, strict=True):
        seen = part.members & ~own.isnan()
        assert torch.equal(own[seen], denominator[seen])
        own = torch.where(part.members, denominator, own)
    expected = (-upge.token_weights(name, batch) / own[:, None]).nan_to_num()
    assert_close(gradient(upge.loss(name, batch), batch), expected, rtol=1e-9, atol=1e-18)


def test_two_methods_alone_weigh_demonstrations_by_the_policy_before_the_step():
    assert {name for name, entry in upge.ALGORITHMS.items() if "old_demonstrations" in entry.needs} == {
        "psft",
        "rl_plus",
    }
