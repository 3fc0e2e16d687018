"""KL, entropy bonus and value loss against plain formulas, and GAE against its definition."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
import torch
from tiny import LONGEST, TRAJECTORIES, TinyPolicy
from torch import Tensor
from torch.testing import assert_close

from hpt_core.types import RowInfo
from hpt_core.upge import Options
from hpt_core.upge.advantage import gae
from hpt_core.upge.regularise import KL, RegulariserInputs, Regularisers, returns, value_error

ALL = Regularisers(kl=0.3, kl_estimate="k2", entropy=0.05, value=0.7, value_clip=0.5)


def random(seed: int, rows: int = 7, longest: int = 6) -> tuple[RegulariserInputs, Tensor]:
    """What is measured, NaN where it is not to be read, and the mask that says where it is."""
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(0, longest + 1, (rows,), generator=draw)
    length[0] = 1
    mask = torch.arange(longest) < length[:, None]

    def uniform(low: float, high: float) -> Tensor:
        values = low + (high - low) * torch.rand(mask.shape, generator=draw, dtype=torch.float64)
        return values.masked_fill(~mask, torch.nan)

    measured = RegulariserInputs(
        logp=uniform(-3, -0.1).requires_grad_(),
        logp_reference=uniform(-3, -0.1),
        entropy=uniform(0, 2).requires_grad_(),
        value=uniform(-1, 2).requires_grad_(),
        value_old=uniform(-1, 2),
        returns=uniform(-1, 2),
    )
    return measured, mask


def gradients(scalar: Tensor, measured: RegulariserInputs) -> list[Tensor]:
    moved = [measured.logp, measured.entropy, measured.value]
    found = torch.autograd.grad(scalar, moved, allow_unused=True)
    return [torch.zeros_like(of) if g is None else g for g, of in zip(found, moved, strict=True)]


PLAIN_KL = {
    "k1": lambda theta, reference: theta - reference,
    "k2": lambda theta, reference: (theta - reference) ** 2 / 2,
    "k3": lambda theta, reference: torch.exp(reference - theta) - (reference - theta) - 1,
    "k3_capped": lambda theta, reference: torch.clamp(
        torch.exp(torch.clamp(reference - theta, -20, 20)) - torch.clamp(reference - theta, -20, 20) - 1,
        -10,
        10,
    ),
}


def plain(regularisers: Regularisers, measured: RegulariserInputs, mask: Tensor, count: int) -> Tensor:
    """Token by token."""
    total = torch.zeros((), dtype=torch.float64)
    for i, t in mask.nonzero().tolist():
        kl = PLAIN_KL[regularisers.kl_estimate](measured.logp[i, t], measured.logp_reference[i, t])
        v, old, target = measured.value[i, t], measured.value_old[i, t], measured.returns[i, t]
        error = (v - target) ** 2
        if regularisers.value_clip is not None:
            held = torch.clamp(v, old - regularisers.value_clip, old + regularisers.value_clip)
            error = torch.max(error, (held - target) ** 2)
        total = total + regularisers.kl * kl - regularisers.entropy * measured.entropy[i, t]
        total = total + regularisers.value * error / 2
    return total / count


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "regularisers",
    [
        *(Regularisers(kl=0.3, kl_estimate=name) for name in KL),
        Regularisers(entropy=0.01),
        Regularisers(value=0.5),
        Regularisers(value=0.5, value_clip=0.2),
        ALL,
    ],
)
def test_value_and_gradient_are_the_plain_ones(regularisers, seed):
    measured, mask = random(seed)
    ours, expected = regularisers(measured, mask, 50), plain(regularisers, measured, mask, 50)
    assert_close(ours, expected, rtol=1e-12, atol=1e-14)
    of_ours, of_expected = gradients(ours, measured), gradients(expected, measured)
    assert any(g.abs().max() > 1e-4 for g in of_ours)
    assert_close(of_ours, of_expected, rtol=1e-9, atol=1e-12)


def test_the_value_clip_holds_many_tokens_back():
    """Else the parity above would prove little: a quarter of the tokens lose their gradient."""
    measured, mask = random(0, rows=40)
    loss = value_error(measured.value, measured.value_old, measured.returns, 0.2)[mask].sum()
    _, _, moved = gradients(loss, measured)
    assert (moved[mask] == 0).double().mean() > 0.25


def test_only_what_has_a_coefficient_is_looked_at():
    logp = torch.zeros(2, 3, dtype=torch.float64)
    assert (
        not Regularisers() and Regularisers(kl=0.1) and Regularisers(entropy=-0.1) and Regularisers(value=1)
    )
    assert Regularisers()(RegulariserInputs(logp), torch.ones(2, 3, dtype=torch.bool), 6) == 0


@pytest.mark.parametrize("name", KL)
def test_the_same_for_every_cut(name):
    """The count is that of the whole mini-batch, whatever part of it is looked at."""
    regularisers = replace(ALL, kl_estimate=name)
    measured, mask = random(4, rows=11)
    count = int(mask.sum())
    whole = gradients(regularisers(measured, mask, count), measured)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    collected = [torch.zeros_like(g) for g in whole]
    for start, stop in ((0, 4), (4, 4), (4, 5), (5, 11)):
        rows = order[start:stop]
        part = RegulariserInputs(**{key: value[rows].detach() for key, value in vars(measured).items()})
        for value in (part.logp, part.entropy, part.value):
            value.requires_grad_()
        of_part = gradients(regularisers(part, mask[rows], count), part)
        for total, share in zip(collected, of_part, strict=True):
            total[rows] = share
    assert_close(collected, whole, rtol=1e-9, atol=1e-15)


# On a policy small enough to enumerate. For a token, the states before it are held fixed: how the policy
# gets there is not what an estimate of a token's KL differentiates.

THETA, ZERO = TinyPolicy(0), TinyPolicy(1)
BEFORE = [((), torch.ones((), dtype=torch.float64))] + [
    ((a,), THETA.probability((a, 0)).detach() / THETA.logits.softmax(-1)[1 + a, 0].detach()) for a in (1, 2)
]
"""What has been written, and how likely that is."""


def conditional(policy: TinyPolicy, written: tuple[int, ...]) -> Tensor:
    """log pi(. | written) [V]."""
    return policy.logits.log_softmax(-1)[0 if not written else 1 + written[0]]


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities [V]."""
    return (p.exp() * (p - q)).sum()


def expectation(name: str) -> tuple[Tensor, Tensor]:
    """Value and gradient of an estimate, summed over tokens and averaged over what the policy writes."""
    value, slope = torch.zeros((), dtype=torch.float64), torch.zeros_like(THETA.logits)
    regularisers = Regularisers(kl=1.0, kl_estimate=name)
    for trajectory in TRAJECTORIES:
        logp = THETA.logp(trajectory)[None]
        mask = torch.arange(LONGEST)[None] < len(trajectory)
        measured = RegulariserInputs(logp, logp_reference=ZERO.logp(trajectory)[None].detach())
        estimate = regularisers(measured, mask, 1)
        chance = THETA.probability(trajectory).detach()
        value = value + chance * estimate.detach()
        slope = slope + chance * THETA.gradient(estimate)
    return value, slope


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_have_the_kl_as_expectation(name):
    exact = sum(
        THETA.probability(tau) * (THETA.logp(tau) - ZERO.logp(tau)).sum() for tau in TRAJECTORIES
    ).detach()
    assert exact > 0.1
    assert_close(expectation(name)[0], exact, rtol=1e-9, atol=1e-12)


def test_k2_has_the_gradient_of_the_kl():
    exact = sum(chance * kl(conditional(THETA, was), conditional(ZERO, was)) for was, chance in BEFORE)
    assert_close(expectation("k2")[1], THETA.gradient(exact), rtol=1e-9, atol=1e-12)


def test_k1_has_no_gradient_on_average():
    assert_close(expectation("k1")[1], torch.zeros_like(THETA.logits), rtol=0, atol=1e-12)


def test_k3_has_the_gradient_of_the_kl_the_other_way_round():
    exact = sum(chance * kl(conditional(ZERO, was), conditional(THETA, was)) for was, chance in BEFORE)
    assert_close(expectation("k3")[1], THETA.gradient(exact), rtol=1e-9, atol=1e-12)


def test_k3_far_from_the_reference_is_finite_and_pushes_no_further_away():
    """In float32 a token at log ratio -200 would be infinite; as in verl, -20 stands for all beyond."""
    logp = torch.full((1, 1), -200.0).requires_grad_()
    estimate = Regularisers(kl=1.0)(
        RegulariserInputs(logp, torch.zeros(1, 1)), torch.ones(1, 1, dtype=torch.bool), 1
    )
    assert_close(float(estimate.detach()), exp(20) - 1 - 20, rtol=1e-6, atol=0)
    assert torch.autograd.grad(estimate, logp)[0] <= 0


def valued(seed: int) -> RowInfo:
    """Rows of 1 to 6 tokens, and V that is NaN past their end."""
    measured, mask = random(seed, rows=9)
    some = mask.any(1)
    reward = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return RowInfo(
        reward[some],
        torch.arange(int(some.sum())),
        torch.zeros(int(some.sum()), dtype=torch.bool),
        mask.sum(1)[some],
        measured.value_old[some],
    )


@pytest.mark.parametrize("discount", [1.0, 0.99])
@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_gae_is_its_definition(lam, discount):
    """arXiv 1506.02438, eq. 16: the sum over k of (discount lambda)^k delta_{t+k}."""
    rows = valued(5)
    ours = gae(rows, Options(discount=discount, gae_lambda=lam))
    assert ours.shape == rows.value.shape
    expected = torch.zeros_like(ours)
    for i, length in enumerate(rows.length.tolist()):
        for t in range(length):
            for k in range(length - t):
                ends = t + k == length - 1
                now, then = rows.value[i, t + k], 0.0 if ends else rows.value[i, t + k + 1]
                delta = (rows.reward[i] if ends else 0.0) + discount * then - now
                expected[i, t] += (discount * lam) ** k * delta
    assert_close(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("discount", [1.0, 0.99])
def test_at_lambda_one_gae_is_the_return_to_go_less_v(discount):
    rows = valued(6)
    options = Options(discount=discount)
    steps = rows.length[:, None] - 1 - torch.arange(rows.value.shape[1])
    inside = steps >= 0
    to_go = torch.tensor(discount, dtype=torch.float64) ** steps * rows.reward[:, None]
    assert_close(gae(rows, options)[inside], (to_go - rows.value)[inside], rtol=1e-12, atol=1e-14)
    assert_close(returns(rows, options)[inside], to_go[inside], rtol=1e-12, atol=1e-14)


def test_v_is_fitted_to_a_plus_v():
    rows = valued(7)
    options = Options(discount=0.99, gae_lambda=0.95)
    inside = ~rows.value.isnan()
    expected = gae(rows, options) + rows.value
    assert_close(returns(rows, options)[inside], expected[inside], rtol=0, atol=0)
