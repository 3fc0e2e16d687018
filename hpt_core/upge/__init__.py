"""The Unified Policy Gradient Estimator: one formula (estimator.py), one table (algorithms.py).

`loss` serves a step that fits one forward pass. For micro-batches, call `plan` once and `surrogate` for each.
Keyword options override the algorithm's published settings; `Options` lists them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hpt_core.types import RowInfo, Tokens
from hpt_core.upge import estimator, importance, regularise
from hpt_core.upge.algorithms import ALGORITHMS, algorithm
from hpt_core.upge.estimator import Algorithm, Plan, Term
from hpt_core.upge.options import Options

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Options",
    "Plan",
    "Term",
    "algorithm",
    "clipped",
    "kept_rows",
    "loss",
    "masked",
    "plan",
    "returns",
    "surrogate",
    "token_weights",
]


def plan(name: str, rows: RowInfo, **options: Any) -> Plan:
    """Advantage, denominator and activity of the rows [B] of a whole mini-batch.

    Raises ValueError where the rows lack what the algorithm needs, with the remedy.
    """
    return estimator.plan(algorithm(name), rows, _options(name, options))


def surrogate(name: str, tokens: Tokens, planned: Plan, **options: Any) -> Tensor:
    """The scalar to call backward on, for tokens whose rows have the part `planned` of the plan.

    Its gradients add up over the parts of a mini-batch, in any cut and order. Takes the options of `plan`.
    """
    return estimator.surrogate(algorithm(name), tokens, planned, _options(name, options))


def clipped(name: str, tokens: Tokens, planned: Plan, **options: Any) -> Tensor:
    """[B, T] bool, the tokens with an advantage that a clip or a truncation limits."""
    return estimator.clipped(algorithm(name), tokens, planned, _options(name, options))


def kept_rows(name: str, tokens: Tokens, **options: Any) -> Tensor:
    """[B] bool, False for the rollouts that `sequence_mask` or `importance` takes out of the update."""
    return importance.kept_rows(tokens, _options(name, options))


def masked(name: str, tokens: Tokens, **options: Any) -> tuple[Tensor, Tensor]:
    """The rollouts [B] bool that `sequence_mask` takes out, and their tokens [B, T] bool that weigh 0 by
    `importance`."""
    given = _options(name, options)
    out = importance.importance(tokens, given) == 0
    return ~importance.within_sequence_mask(tokens, given), out


def returns(name: str, rows: RowInfo, **options: Any) -> Tensor:
    """[B, T] float64, the targets of a value head: A of GAE plus V_old."""
    return regularise.returns(rows, _options(name, options))


def loss(name: str, tokens: Tokens, **options: Any) -> Tensor:
    """The scalar of a mini-batch in one piece: d loss / d logp = - w / the aggregation's denominator.

    `length` defaults to T. Raises as `plan` does.
    """
    options = _with_length(tokens, options)
    return surrogate(name, tokens, plan(name, tokens.rows, **options), **options)


def token_weights(name: str, tokens: Tokens, **options: Any) -> Tensor:
    """w = 1_stable * (pi_theta / pi_ref) * A_hat before aggregation, [B, T], detached.

    0 where the mask is False or the row takes no part; summed where a method has two terms for a
    demonstration. Raises as `plan` does.
    """
    options = _with_length(tokens, options)
    planned = plan(name, tokens.rows, **options)
    part_weights = estimator.weights(algorithm(name), tokens, planned, _options(name, options))
    return torch.stack(part_weights).sum(0)


def _options(name: str, given: dict[str, Any]) -> Options:
    return replace(algorithm(name).options, **given)


def _with_length(tokens: Tokens, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "length": tokens.mask.shape[1]} if options.get("length") is None else options
