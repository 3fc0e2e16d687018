"""Each entry has the gradient of its published surrogate, written out here row by row and plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import fmean

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.types import Tokens

Surrogate = Callable[[Tokens], Tensor]
LENGTH = 16


def rollouts_by_prompt(batch: Tokens) -> Iterator[list[int]]:
    for prompt in batch.group.unique().tolist():
        yield [i for i in range(len(batch.group)) if batch.group[i] == prompt and not batch.expert[i]]


def demonstration_of(batch: Tokens, rollouts: list[int]) -> list[int]:
    prompt = batch.group[rollouts[0]]
    return [i for i in range(len(batch.group)) if batch.group[i] == prompt and batch.expert[i]]


def logp(batch: Tokens, row: int) -> Tensor:
    return batch.logp[row][batch.mask[row]]


def ratio(batch: Tokens, row: int) -> Tensor:
    """pi_theta / pi_old, token by token."""
    return torch.exp(logp(batch, row) - batch.logp_old[row][batch.mask[row]])


def zscores(batch: Tokens, rows: list[int]) -> list[float]:
    reward = batch.reward[rows]
    return ((reward - reward.mean()) / (reward.std(unbiased=True) + 1e-6)).tolist()


def ppo(r: Tensor, a: float, low: float = 0.2, high: float = 0.2) -> Tensor:
    """PPO, arXiv 1707.06347, eq. 7."""
    return torch.min(r * a, r.clamp(1 - low, 1 + high) * a)


def sft(batch: Tokens) -> Tensor:
    """Mean negative log-likelihood of the demonstrations' tokens."""
    experts = [i for i in range(len(batch.group)) if batch.expert[i]]
    return -torch.cat([logp(batch, i) for i in experts]).mean()


def reinforce(batch: Tokens) -> Tensor:
    """Williams 1992: mean over trajectories of R log pi(tau)."""
    rows = [i for rollouts in rollouts_by_prompt(batch) for i in rollouts]
    return -sum(batch.reward[i] * logp(batch, i).sum() for i in rows) / len(rows)


def grpo(batch: Tokens) -> Tensor:
    """DeepSeekMath, arXiv 2402.03300, eq. 3 at beta = 0, averaged over all rollouts."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo(ratio(batch, i), a).mean())
    return -sum(terms) / len(terms)


def dr_grpo(batch: Tokens) -> Tensor:
    """arXiv 2503.20783, section 3.2, with the constant of its listing 1 for the length."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        baseline = fmean(batch.reward[i].item() for i in rollouts)
        terms += [ppo(ratio(batch, i), batch.reward[i].item() - baseline).sum() / LENGTH for i in rollouts]
    return -sum(terms) / len(terms)


def dapo(batch: Tokens) -> Tensor:
    """arXiv 2503.14476, eq. 8: epsilon_low 0.2, epsilon_high 0.28, the mean over all tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo(ratio(batch, i), a, 0.2, 0.28))
    return -torch.cat(terms).mean()


def cispo(batch: Tokens) -> Tensor:
    """MiniMax-M1, arXiv 2506.13585, eq. 4 and 5: sg(clip(r)) A log pi, the mean over all tokens."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ratio(batch, i).clamp(0.8, 1.2).detach() * a * logp(batch, i))
    return -torch.cat(terms).mean()


def cispo_mask(batch: Tokens) -> Tensor:
    """arXiv 2509.04419, its table: the token is dropped where it went too far, else sg(r) A log pi."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            for r, lp in zip(ratio(batch, i), logp(batch, i), strict=True):
                dropped = (a > 0 and r > 1.2) or (a < 0 and r < 0.8)
                terms.append(0.0 * lp if dropped else r.detach() * a * lp)
    return -torch.stack(terms).mean()


def gspo(batch: Tokens) -> Tensor:
    """arXiv 2507.18071, eq. 5 to 7: one ratio per sequence, the geometric mean of its tokens'."""
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        for i, a in zip(rollouts, zscores(batch, rollouts), strict=True):
            terms.append(ppo(ratio(batch, i).log().mean().exp(), a))
    return -sum(terms) / len(terms)


def luffy(batch: Tokens) -> Tensor:
    """arXiv 2504.14945, mixed-policy GRPO with policy shaping f(p) = p / (p + 0.1), pi_phi = 1.

    The advantage over rollouts and demonstrations together; 1/Z with Z all their tokens.
    """
    terms = []
    for rollouts in rollouts_by_prompt(batch):
        rows = rollouts + demonstration_of(batch, rollouts)
        for i, a in zip(rows, zscores(batch, rows), strict=True):
            p = logp(batch, i).exp()
            terms.append(p / (p + 0.1) * a if batch.expert[i] else ppo(ratio(batch, i), a))
    return -torch.cat(terms).mean()


def hpt(batch: Tokens, gamma: float = 0.0, coefficient: float = 1.0) -> Tensor:
    """arXiv 2509.04419, section 3.3: L = alpha L_RL + beta L_SFT, the mean over prompts.

    L_RL is Dr.GRPO's without clip; a prompt without a demonstration has L_RL alone.
    """
    prompts = []
    for rollouts in rollouts_by_prompt(batch):
        demonstration = demonstration_of(batch, rollouts)
        pass_rate = fmean(batch.reward[i].item() for i in rollouts)
        if demonstration and pass_rate <= gamma:
            prompts.append(-coefficient * logp(batch, demonstration[0]).mean())
        else:
            advantages = [batch.reward[i].item() - pass_rate for i in rollouts]
            sums = [(ratio(batch, i) * a).sum() / LENGTH for i, a in zip(rollouts, advantages, strict=True)]
            prompts.append(-sum(sums) / len(rollouts))
    return sum(prompts) / len(prompts)


PUBLISHED: dict[str, Surrogate] = {
    "sft": sft,
    "reinforce": reinforce,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "dapo": dapo,
    "cispo": cispo,
    "cispo_mask": cispo_mask,
    "gspo": gspo,
    "luffy": luffy,
    "hpt": hpt,
}
BASELINE = {"grpo", "dr_grpo", "dapo", "cispo", "cispo_mask", "gspo", "luffy", "hpt"}
CLIPPED = {"grpo": (0.8, 1.2), "dr_grpo": (0.8, 1.2), "dapo": (0.8, 1.28), "cispo_mask": (0.8, 1.2)}


def gradient(scalar: Tensor, batch: Tokens) -> Tensor:
    return torch.autograd.grad(scalar, batch.logp)[0]


def test_every_entry_is_proven():
    assert set(PUBLISHED) == set(upge.ALGORITHMS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PUBLISHED)
def test_gradient_is_the_published_one(name, seed, ragged):
    batch = ragged(seed, smallest=2 if name in BASELINE else 1)
    ours = gradient(upge.loss(name, batch, length=LENGTH), batch)
    assert ours.abs().max() > 1e-3
    assert_close(ours, gradient(PUBLISHED[name](batch), batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "cispo", "gspo", "hpt", "reinforce"])
def test_rollouts_alone_are_enough(name, ragged):
    batch = ragged(7, expert_every=0)
    ours = gradient(upge.loss(name, batch, length=LENGTH), batch)
    assert_close(ours, gradient(PUBLISHED[name](batch), batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("gamma", "coefficient"), [(0.5, 1.0), (0.25, 0.3), (1.0, 2.0)])
def test_hpt_follows_gamma_and_coefficient(gamma, coefficient, ragged):
    batch = ragged(11)
    ours = upge.loss("hpt", batch, length=LENGTH, gamma=gamma, sft_coefficient=coefficient)
    published = hpt(batch, gamma, coefficient)
    assert_close(gradient(ours, batch), gradient(published, batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CLIPPED)
def test_the_batches_are_clipped_in_earnest(name, ragged):
    """Over a fifth of the tokens with an advantage lose their gradient, else parity would prove little."""
    low, high = CLIPPED[name]
    batch = ragged(0)
    planned = upge.plan(name, batch.rows, length=LENGTH)
    signed = planned.advantage[:, None].expand_as(batch.mask)[batch.mask & planned.active[:, None]]
    r = (batch.logp - batch.logp_old).exp()[batch.mask & planned.active[:, None]]
    far = torch.where(signed > 0, r > high, r < low)
    assert far.double().mean() > 0.2
    w = upge.token_weights(name, batch)[batch.mask & planned.active[:, None]]
    assert torch.equal(w == 0, far)


@pytest.mark.parametrize("name", PUBLISHED)
def test_loss_is_the_weights_over_the_denominator(name, ragged):
    batch = ragged(5)
    w = upge.token_weights(name, batch)
    planned = upge.plan(name, batch.rows, length=batch.mask.shape[1])
    assert not w.requires_grad and not w[~batch.mask].any() and not w[~planned.active].any()
    expected = -w / planned.denominator[:, None]
    assert_close(gradient(upge.loss(name, batch), batch), expected, rtol=1e-9, atol=0)
