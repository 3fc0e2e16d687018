"""The Unified Policy Gradient Estimator (arXiv 2509.04419):

    grad_uni = 1_stable * (1 / pi_ref)        * A_hat * grad pi_theta
             = 1_stable * (pi_theta / pi_ref) * A_hat * grad log pi_theta

It is computed in two phases. `plan` sees all rows of a mini-batch and no logits; `surrogate` sees the
tokens of any part of it. The gradients of the parts add up to that of the whole, however it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hpt_core.types import Rows, Tokens
from hpt_core.upge.advantage import Advantage
from hpt_core.upge.aggregate import Aggregate
from hpt_core.upge.likelihood import Likelihood, identity
from hpt_core.upge.mix import Mix, by_pass_rate, even
from hpt_core.upge.options import Options
from hpt_core.upge.reference import Reference
from hpt_core.upge.stable import Stable, always

# The ratio stays finite and positive in float32, so that a masked token gives 0 and never 0 * inf.
LOG_RATIO = (-80.0, 20.0)


@dataclass(frozen=True)
class Term:
    """The four interchangeable parts, for one kind of rows."""

    reference: Reference
    advantage: Advantage
    stable: Stable = always
    likelihood: Likelihood = identity

    def weight(self, tokens: Tokens, advantage: Tensor, options: Options) -> Tensor:
        """The formula without grad log pi_theta, [B, T], for the advantage [B] of each row."""
        a_hat = advantage[:, None].to(tokens.logp)
        ratio = (tokens.logp.detach() - self.reference(tokens)).clamp(*LOG_RATIO).exp()
        stable = self.stable(ratio, a_hat, options.bounds)
        slope = self.likelihood(ratio)
        return stable * ratio * a_hat * slope


@dataclass(frozen=True)
class Algorithm:
    """A method of the paper's table: a term for each kind of rows that it trains on, and how they add."""

    aggregate: Aggregate
    rollouts: Term | None = None
    demonstrations: Term | None = None
    mix: Mix = even
    options: Options = field(default_factory=Options)
    """The published settings."""

    @property
    def gated(self) -> bool:
        """The pass rate of a prompt decides between its rollouts and its demonstration."""
        return self.mix is by_pass_rate

    def terms(self, expert: Tensor) -> list[tuple[Term, Tensor]]:
        """Each term, with the rows [B] bool that it is for."""
        kinds = ((self.rollouts, ~expert), (self.demonstrations, expert))
        return [(term, members) for term, members in kinds if term is not None]


@dataclass(frozen=True)
class Plan:
    """What a mini-batch decides about each of its B rows before any forward pass."""

    advantage: Tensor
    """[B] float64, A_hat times the weight in the mix; 0 for rows that take no part."""
    denominator: Tensor
    """[B] float64, what each token of the row is divided by."""
    active: Tensor
    """[B] bool, the row has a gradient; any other needs no forward pass."""

    def __getitem__(self, rows: Tensor | slice | list[int]) -> Plan:
        """The plan of some of the rows, in the order asked for."""
        return Plan(self.advantage[rows], self.denominator[rows], self.active[rows])


def plan(algorithm: Algorithm, rows: Rows, options: Options) -> Plan:
    """Advantage, denominator and activity of the rows of a whole mini-batch.

    Raises ValueError where the algorithm has nothing to train on, or where a group lacks what its
    baseline or its gate needs.
    """
    trained = torch.zeros_like(rows.expert)
    advantage = torch.zeros_like(rows.reward, dtype=torch.float64)
    for term, members in algorithm.terms(rows.expert):
        trained = trained | members
        advantage = torch.where(members, term.advantage(rows), advantage)
    _check(algorithm, rows, trained, advantage)
    advantage = advantage * algorithm.mix(rows, options)
    active = (advantage != 0) & (rows.length > 0)
    return Plan(advantage, algorithm.aggregate(rows, trained, options), active)


def weights(algorithm: Algorithm, tokens: Tokens, planned: Plan, options: Options) -> Tensor:
    """w = 1_stable * (pi_theta / pi_ref) * A_hat of each token, [B, T], detached; 0 where none takes part."""
    w = torch.zeros_like(tokens.logp)
    for term, members in algorithm.terms(tokens.expert):
        # where, not a product: logp_old of demonstrations and of padding may be anything.
        here = (members & planned.active)[:, None] & tokens.mask
        w = torch.where(here, term.weight(tokens, planned.advantage, options), w)
    return w.detach()


def surrogate(algorithm: Algorithm, tokens: Tokens, planned: Plan, options: Options) -> Tensor:
    """A scalar whose gradient is the estimator's, for rows whose part of the plan is `planned`.

    Its value is no metric, since the weights move with it: watch reward, NLL, ratio and entropy instead.
    """
    w = weights(algorithm, tokens, planned, options)
    logp = tokens.logp.masked_fill(~(tokens.mask & planned.active[:, None]), 0.0)
    return -(w * logp / planned.denominator[:, None].to(w)).sum()


def _check(algorithm: Algorithm, rows: Rows, trained: Tensor, advantage: Tensor) -> None:
    if not trained.any():
        kind = "demonstrations" if algorithm.rollouts is None else "rollouts"
        raise ValueError(
            f"the algorithm trains on {kind}, and none of the {len(trained)} rows is one; add {kind} to the "
            "mini-batch, or choose another algorithm"
        )
    if not advantage.isfinite().all():
        groups = sorted(set(rows.group[~advantage.isfinite()].tolist()))
        raise ValueError(f"groups {groups} have a reward that is no number; drop the rows without a verdict")
