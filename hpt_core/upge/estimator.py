"""The Unified Policy Gradient Estimator (arXiv 2509.04419):

    grad_uni = 1_stable * (1 / pi_ref)        * A_hat * grad pi_theta
             = 1_stable * (pi_theta / pi_ref) * A_hat * grad log pi_theta

It is computed in two phases. `plan` sees all rows of a mini-batch and no logits; `surrogate` sees the
tokens of any part of it. The gradients of the parts add up to that of the whole, however it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hpt_core.groups import in_float64
from hpt_core.types import RowInfo, Tokens
from hpt_core.upge.advantage import Advantage, with_overlong_penalty
from hpt_core.upge.aggregate import Aggregate
from hpt_core.upge.importance import LOG_RATIO, correction
from hpt_core.upge.likelihood import Likelihood, identity
from hpt_core.upge.mix import RowWeighting, by_pass_rate, even
from hpt_core.upge.options import Options
from hpt_core.upge.reference import Reference
from hpt_core.upge.stable import CLIPS, Stable, always


@dataclass(frozen=True)
class Term:
    """The four interchangeable parts, and the denominator of their sum over tokens."""

    reference: Reference
    advantage: Advantage
    stable: Stable = always
    likelihood: Likelihood = identity
    aggregate: Aggregate = field(kw_only=True)

    def weight(self, tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
        """The formula without grad log pi_theta, [B, T], for the advantage [B, 1 or T] of each token."""
        a_hat, ratio = self._advantage_and_ratio(tokens, advantage, options)
        stable = self.stable(tokens, ratio, a_hat, options)
        slope = self.likelihood(ratio)
        return stable * ratio * a_hat * slope

    def limited(self, tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
        """[B, T] bool, the tokens that a clip or a truncation limits."""
        if self.stable not in CLIPS:
            return torch.zeros_like(tokens.mask)
        a_hat, ratio = self._advantage_and_ratio(tokens, advantage, options)
        return self.stable(tokens, ratio, a_hat, options) != 1

    def _advantage_and_ratio(
        self, tokens: Tokens, advantage: Tensor, options: Options
    ) -> tuple[Tensor, Tensor]:
        """A_hat [B, 1 or T] and pi_theta / pi_ref [B, T]."""
        a_hat = advantage[:, : tokens.logp.shape[1]].to(tokens.logp)
        log_ratio = tokens.logp.detach() - self.reference(tokens, a_hat, options)
        return a_hat, log_ratio.clamp(*LOG_RATIO).exp()


Need = Literal["value", "old_demonstrations", "buffer", "hint"]
"""value: a head that learns V (PPO). old_demonstrations: demonstrations under the policy before the step
(PSFT, RL-PLUS). buffer: imitation of failed prompts, from time to time (ReLIFT). hint: rollouts that continue
a part of the demonstration (UFT)."""


class Part(NamedTuple):
    """A term, its rows [B] bool, and the index of its weight in the mix."""

    term: Term
    members: Tensor
    place: int


@dataclass(frozen=True)
class Algorithm:
    """A method of the paper's table: a term for each kind of rows that it trains on, and their weights."""

    rollouts: Term | None = None
    demonstrations: Term | None = None
    """Imitation of the demonstrations."""
    offline: Term | None = None
    """RL on the demonstrations, as rollouts of an unknown policy."""
    mix: RowWeighting = even
    options: Options = field(default_factory=Options)
    """The published settings."""
    needs: frozenset[Need] = frozenset()
    """What its trainer must provide besides."""

    @property
    def gated(self) -> bool:
        """The pass rate of a prompt decides between its rollouts and its demonstration."""
        return self.mix is by_pass_rate

    @property
    def dropout(self) -> bool:
        """The model's dropout acts while it trains, which is so for plain imitation alone.

        Elsewhere probabilities are compared with those of a forward pass without dropout: the sampler's, or
        the old policy's. With dropout, the ratio of a fresh rollout would not be 1, and a clip would hold
        back noise.
        """
        return self.rollouts is None and not self.needs

    def trains_on(self, expert: Tensor) -> Tensor:
        """[B] bool -> [B] bool, the rows of a kind that the method has a term for."""
        return torch.stack([part.members for part in self.parts(expert)]).any(0)

    def parts(self, expert: Tensor) -> list[Part]:
        kinds = ((self.rollouts, ~expert), (self.demonstrations, expert), (self.offline, expert))
        return [Part(term, rows, place) for place, (term, rows) in enumerate(kinds) if term is not None]


@dataclass(frozen=True)
class Plan:
    """What is decided about each of the B rows of a mini-batch before any forward pass.

    The first two have one entry for each part of the algorithm.
    """

    advantages: tuple[Tensor, ...]
    """[B, 1 or T] float64, A_hat times the weight in the mix; 0 for rows that take no part."""
    denominators: tuple[Tensor, ...]
    """[B] float64, the denominator of each token of the row."""
    active: Tensor
    """[B] bool, the row has a gradient; the other rows need no forward pass."""
    kept: Tensor
    """[B] bool, a rollout with a weight above 0 in the mix; regularisers are taken over these."""
    no_expert: Tensor
    """[B] bool, the gate leaves the prompt to its demonstration alone, and the prompt has none."""

    def __getitem__(self, rows: Tensor | slice | list[int]) -> Plan:
        """The plan of some of the rows, in the given order."""
        return Plan(
            tuple(advantage[rows] for advantage in self.advantages),
            tuple(denominator[rows] for denominator in self.denominators),
            self.active[rows],
            self.kept[rows],
            self.no_expert[rows],
        )


def plan(algorithm: Algorithm, rows: RowInfo, options: Options) -> Plan:
    """Advantages, denominators and activity of the rows of a whole mini-batch.

    Raises ValueError where the algorithm has nothing to train on, or where a group lacks what its
    baseline or its gate needs.
    """
    rows = replace(rows, reward=in_float64(rows.reward))
    # The mix reads the verified rewards, since a long response that solves its prompt has solved it.
    shaped = with_overlong_penalty(rows, options)
    parts, weights = algorithm.parts(rows.expert), algorithm.mix(rows, options)
    _check_kinds(algorithm, rows, algorithm.trains_on(rows.expert))
    advantages, denominators = [], []
    for term, members, place in parts:
        weight = torch.where(members, weights[place], 0.0)[:, None]
        advantage = term.advantage(shaped, options)
        advantage = advantage[:, None] if advantage.ndim == 1 else advantage
        # `where`, since the reward of a row without weight may be NaN.
        advantages.append(torch.where(weight != 0, advantage * weight, 0.0))
        # 1 for rows of the other kind, since their own denominator may be 0.
        denominators.append(torch.where(members, term.aggregate(rows, members, options), 1.0))
    _check_rewards(rows, advantages)
    has_gradient = torch.stack([(advantage != 0).any(1) for advantage in advantages]).any(0)
    kept = ~rows.expert & (weights.rollouts > 0) & (algorithm.rollouts is not None)
    not_empty = rows.length > 0
    return Plan(
        tuple(advantages), tuple(denominators), has_gradient & not_empty, kept & not_empty, weights.no_expert
    )


def weights(algorithm: Algorithm, tokens: Tokens, planned: Plan, options: Options) -> list[Tensor]:
    """w = 1_stable * (pi_theta / pi_ref) * A_hat of each token under each part, [B, T], detached.

    0 where a token takes no part. `importance` and `sequence_mask` multiply the weights of rollouts.
    """
    part_weights, corrected = [], correction(tokens, options)
    for (term, members, _), advantage in zip(algorithm.parts(tokens.expert), planned.advantages, strict=True):
        # `where`, since logp_old of demonstrations and of padding may be anything.
        counted = (members & planned.active)[:, None] & tokens.mask
        weight = term.weight(tokens, advantage, options) * corrected
        part_weights.append(torch.where(counted, weight, 0.0).detach())
    return part_weights


def clipped(algorithm: Algorithm, tokens: Tokens, planned: Plan, options: Options) -> Tensor:
    """[B, T] bool, tokens with an advantage that a clip or a truncation limits."""
    limited = torch.zeros_like(tokens.mask)
    for (term, members, _), advantage in zip(algorithm.parts(tokens.expert), planned.advantages, strict=True):
        counted = (members & planned.active)[:, None] & tokens.mask
        limited |= counted & term.limited(tokens, advantage, options)
    return limited


def surrogate(algorithm: Algorithm, tokens: Tokens, planned: Plan, options: Options) -> Tensor:
    """A scalar whose gradient is the estimator's, for rows whose part of the plan is `planned`.

    Its value is no metric, since the weights change with it; reward, NLL, ratio and entropy are.
    """
    logp = tokens.logp.masked_fill(~(tokens.mask & planned.active[:, None]), 0.0)
    parts = zip(weights(algorithm, tokens, planned, options), planned.denominators, strict=True)
    shares = [(w * logp / denominator[:, None].to(w)).sum() for w, denominator in parts]
    return -torch.stack(shares).sum()


def _check_kinds(algorithm: Algorithm, rows: RowInfo, trained: Tensor) -> None:
    if not trained.any():
        kind = "demonstrations" if algorithm.rollouts is None else "rollouts"
        raise ValueError(
            f"the algorithm trains on {kind}, and none of the {len(trained)} rows is one; add {kind} to the "
            "mini-batch, or choose another algorithm"
        )


def _check_rewards(rows: RowInfo, advantages: list[Tensor]) -> None:
    not_finite = torch.stack([~advantage.isfinite().all(1) for advantage in advantages]).any(0)
    if not_finite.any():
        groups = sorted(set(rows.group[not_finite].tolist()))
        raise ValueError(f"groups {groups} have a reward that is no number; drop the rows without a verdict")
