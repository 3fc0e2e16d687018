"""On a policy small enough to enumerate, the estimator's expectation is the exact gradient of

J_mu = E_pi_theta[r] - mu KL(pi_beta || pi_theta)          (HPT, arXiv 2509.04419)
"""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.gate import Mix
from hpt_core.types import Tokens

STOP, VOCABULARY, LONGEST = 0, 3, 2
TRAJECTORIES = [(STOP,), *product((1, 2), range(VOCABULARY))]
"""A trajectory ends with STOP or at two tokens."""


class TinyPolicy:
    """Logits of the first token, and of the second given the first."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        shape = (1 + VOCABULARY, VOCABULARY)
        self.logits = torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()

    def logp(self, trajectory: tuple[int, ...]) -> Tensor:
        """[T], 0 beyond the end."""
        table = self.logits.log_softmax(-1)
        steps = [table[0, trajectory[0]]] + [table[1 + a, b] for a, b in pairwise(trajectory)]
        return torch.stack(steps + [torch.zeros_like(steps[0])] * (LONGEST - len(steps)))

    def probability(self, trajectory: tuple[int, ...]) -> Tensor:
        return self.logp(trajectory).sum().exp()

    def gradient(self, scalar: Tensor) -> Tensor:
        return torch.autograd.grad(scalar, self.logits)[0]


@pytest.fixture
def policy() -> TinyPolicy:
    return TinyPolicy(0)


REWARD = dict(zip(TRAJECTORIES, (0.3, 1.0, 0.0, 0.2, 0.0, 0.7, 1.0), strict=True))


def tokens(policy: TinyPolicy, rollouts, demonstrations=()) -> Tokens:
    """One prompt, on-policy."""
    rows = [*rollouts, *demonstrations]
    logp = torch.stack([policy.logp(row) for row in rows])
    return Tokens(
        logp,
        logp.detach(),
        torch.tensor([[t < len(row) for t in range(LONGEST)] for row in rows]),
        torch.tensor([REWARD[row] for row in rows], dtype=torch.float64),
        torch.zeros(len(rows), dtype=torch.int64),
        torch.tensor([i >= len(rollouts) for i in range(len(rows))]),
    )


def expected_reward_gradient(policy: TinyPolicy) -> Tensor:
    return policy.gradient(sum(policy.probability(tau) * REWARD[tau] for tau in TRAJECTORIES))


def test_reinforce_is_the_policy_gradient(policy):
    expectation = sum(
        policy.probability(tau).detach() * -policy.gradient(upge.loss("reinforce", tokens(policy, [tau])))
        for tau in TRAJECTORIES
    )
    assert_close(expectation, expected_reward_gradient(policy), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", ["dr_grpo", "hpt"])
def test_group_baseline_is_the_policy_gradient_up_to_its_constant(name, n, policy):
    """A row's own reward stands in its baseline, which scales the gradient by (n - 1) / n, and L divides."""
    expectation = torch.zeros_like(policy.logits)
    for group in product(TRAJECTORIES, repeat=n):
        chance = torch.stack([policy.probability(tau) for tau in group]).prod().detach()
        expectation -= chance * policy.gradient(upge.loss(name, tokens(policy, group)))
    exact = expected_reward_gradient(policy) * (n - 1) / n / LONGEST
    assert_close(expectation, exact, rtol=1e-9, atol=1e-12)


TWO_TOKENS = [tau for tau in TRAJECTORIES if len(tau) == LONGEST]
EXPERT = dict(zip(TWO_TOKENS, (0.1, 0.3, 0.05, 0.25, 0.2, 0.1), strict=True))
"""pi_beta."""


def kl_gradient(policy: TinyPolicy) -> Tensor:
    """Of KL(pi_beta || pi_theta)."""
    return policy.gradient(-sum(chance * policy.logp(tau).sum() for tau, chance in EXPERT.items()))


def test_sft_is_the_kl_to_the_expert(policy):
    expectation = torch.zeros_like(policy.logits)
    for tau, chance in EXPERT.items():
        expectation -= chance * policy.gradient(upge.loss("sft", tokens(policy, [], [tau])))
    assert_close(expectation, -kl_gradient(policy) / LONGEST, rtol=1e-9, atol=1e-12)


def test_rollouts_and_demonstrations_together_are_the_gradient_of_j_mu(policy):
    """With alpha = beta = 1: the exact gradient at mu = sft_coefficient, both halves over L."""
    n, mu = 2, 0.4
    both = Mix(lambda p: p**0, lambda p: p**0)
    expectation = torch.zeros_like(policy.logits)
    for group in product(TRAJECTORIES, repeat=n):
        chance = torch.stack([policy.probability(tau) for tau in group]).prod().detach()
        for expert, share in EXPERT.items():
            batch = tokens(policy, group, [expert])
            step = upge.loss("hpt", batch, gate=both, sft_coefficient=mu * (n - 1) / n)
            expectation -= chance * share * policy.gradient(step)
    exact = (expected_reward_gradient(policy) - mu * kl_gradient(policy)) * (n - 1) / n / LONGEST
    assert_close(expectation, exact, rtol=1e-9, atol=1e-12)


def test_old_rollouts_are_reweighted_to_the_policy():
    """Of one token, sampled by another policy: the ratio makes the expectation exact (no clip in HPT)."""
    policy, old = TinyPolicy(1), TinyPolicy(2)
    reward = torch.tensor([0.3, 1.0, 0.0], dtype=torch.float64)
    log_theta, log_old = (p.logits[0].log_softmax(-1) for p in (policy, old))
    expectation = torch.zeros_like(policy.logits)
    for pair in product(range(VOCABULARY), repeat=2):
        picked = torch.tensor(pair)
        batch = Tokens(
            log_theta[picked][:, None],
            log_old[picked][:, None].detach(),
            torch.ones(2, 1, dtype=torch.bool),
            reward[picked],
            torch.zeros(2, dtype=torch.int64),
            torch.zeros(2, dtype=torch.bool),
        )
        chance = log_old[picked].sum().exp().detach()
        step = upge.loss("hpt", batch)
        expectation -= chance * torch.autograd.grad(step, policy.logits, retain_graph=True)[0]
    # A row's own half of the baseline halves the gradient; the other row's half meets a score of mean zero.
    exact = torch.autograd.grad((log_theta.exp() * reward).sum(), policy.logits)[0] / 2
    assert_close(expectation, exact, rtol=1e-9, atol=1e-12)
