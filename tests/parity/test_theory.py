"""On a policy small enough to enumerate, the estimator's expectation is the exact gradient of

J_mu = E_pi_theta[r] - mu KL(pi_beta || pi_theta)          (HPT, arXiv 2509.04419)
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tiny import LONGEST, PAIRS, REWARD, TRAJECTORIES, VOCABULARY, TinyPolicy, tokens
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.gate import FormulaGate
from hpt_core.types import Tokens


@pytest.fixture
def policy() -> TinyPolicy:
    return TinyPolicy(0)


def expected_reward_gradient(policy: TinyPolicy, reward=REWARD) -> Tensor:
    return policy.gradient(sum(policy.probability(tau) * reward[tau] for tau in reward))


def expected_step(
    name: str, policy: TinyPolicy, n: int, trajectories=TRAJECTORIES, *, reward=REWARD, value=None, **options
) -> Tensor:
    """-E[gradient of the loss] over all groups of n rollouts."""
    expectation = torch.zeros_like(policy.logits)
    for group in product(trajectories, repeat=n):
        step = upge.loss(name, tokens(policy, group, reward=reward, value=value), **options)
        expectation -= policy.chance(group) * policy.gradient(step)
    return expectation


def test_reinforce_is_the_policy_gradient(policy):
    exact = expected_reward_gradient(policy)
    assert_close(expected_step("reinforce", policy, 1), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_leaving_oneself_out_of_the_baseline_is_the_policy_gradient(n, policy):
    """RLOO has no (n - 1) / n, in contrast to the mean of the whole group."""
    exact = expected_reward_gradient(policy)
    assert_close(expected_step("rloo", policy, n), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", ["dr_grpo", "hpt"])
def test_group_baseline_is_the_policy_gradient_up_to_its_constant(name, n, policy):
    """A row's own reward stands in its baseline, which scales the gradient by (n - 1) / n, and L divides."""
    exact = expected_reward_gradient(policy) * (n - 1) / n / LONGEST
    assert_close(expected_step(name, policy, n), exact, rtol=1e-9, atol=1e-12)


PAIR_REWARD = dict(zip(PAIRS, (0.3, 1.0, 0.0, 0.2, 0.0, 0.7, 1.0, 0.4, 0.0), strict=True))
SOLVES = {pair: float(pair in [(0, 1), (2, 0)]) for pair in PAIRS}


def test_ppo_is_the_policy_gradient_whatever_v_says(policy):
    """At lambda = 1; all rows are of one length, which the mean over tokens divides by."""
    guess = torch.randn(1 + VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def value(pair):
        return torch.stack([guess[0], guess[1 + pair[0]]])

    exact = expected_reward_gradient(policy, PAIR_REWARD) / LONGEST
    step = expected_step("ppo", policy, 1, PAIRS, reward=PAIR_REWARD, value=value)
    assert_close(step, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_ppo_with_the_true_v_is_the_policy_gradient_at_any_lambda(lam, policy):
    table = policy.logits.detach().softmax(-1)
    rewards = torch.tensor(list(PAIR_REWARD.values()), dtype=torch.float64).view(VOCABULARY, VOCABULARY)
    after = (table[1:] * rewards).sum(1)
    before = (table[0] * after).sum()

    def value(pair):
        return torch.stack([before, after[pair[0]]])

    exact = expected_reward_gradient(policy, PAIR_REWARD) / LONGEST
    given = {"reward": PAIR_REWARD, "value": value, "gae_lambda": lam}
    assert_close(expected_step("ppo", policy, 1, PAIRS, **given), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_maxrl_is_the_gradient_of_log_p_cut_short(n, policy):
    """log P = sum_k (pass@k - 1) / k, of n rollouts up to k = n - 1.

    The estimator that arXiv 2602.02710 proves to reach k = n subtracts the mean score from every prompt.
    Its algorithm 1 and its code do so only where something was solved, "in practice", and what they leave
    out is the n-th term of the series.
    """

    def up_to(last: int) -> Tensor:
        p = sum(policy.probability(tau) for tau in PAIRS if SOLVES[tau])
        return policy.gradient(sum((1 - (1 - p) ** k) / k for k in range(1, last + 1)))

    step = expected_step("maxrl", policy, n, PAIRS, reward=SOLVES) * LONGEST
    assert_close(step, up_to(n - 1), rtol=1e-9, atol=1e-12)

    unsolved = torch.zeros_like(policy.logits)
    for group in product([tau for tau in PAIRS if not SOLVES[tau]], repeat=n):
        mean_score = policy.gradient(sum(policy.logp(tau).sum() for tau in group) / n)
        unsolved -= policy.chance(group) * mean_score
    assert_close(step + unsolved, up_to(n), rtol=1e-9, atol=1e-12)


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
    both = FormulaGate(lambda p: p**0, lambda p: p**0)
    expectation = torch.zeros_like(policy.logits)
    for group in product(TRAJECTORIES, repeat=n):
        for expert, share in EXPERT.items():
            batch = tokens(policy, group, [expert])
            step = upge.loss("hpt", batch, gate=both, sft_coefficient=mu * (n - 1) / n)
            expectation -= policy.chance(group) * share * policy.gradient(step)
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
