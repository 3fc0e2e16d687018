"""How far trajectories are from a policy: likelihood, rank, length, overlap and gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hpt_core.policy.batching import Padded, TrainingRow, micro_batches, pad
from hpt_core.policy.logprobs import token_logprobs

LARGEST_RANK = 100
"""Ranks above this count as this: one odd token would decide the mean."""
GRAM = 3
"""Tokens of the n-grams whose overlap is counted."""
LOGITS = 1 << 26
"""Bound on the logits of a forward pass that computes ranks, in numbers."""


@dataclass(frozen=True)
class Distance:
    """The distance of one trajectory from a policy."""

    tokens: int
    nll: float
    """-log pi of the response, in nats, the sum over its tokens."""
    ranks: float
    """The sum over its tokens of the rank under the policy: 1 for the likeliest token, at most 100."""
    overlap: float | None
    """Share of its 3-grams of tokens that the policy's own rollouts to the prompt have; None without rollouts
    or 3-grams."""
    gradient_norm: float | None = None
    """Norm of the gradient of its NLL per token; None where it was not measured."""


def distances(
    model: PreTrainedModel,
    rows: Sequence[TrainingRow],
    rollouts: Mapping[str, Sequence[Sequence[int]]],
    gradients: int = 0,
) -> list[Distance]:
    """The distance of each row's response from `model`, a dense one that is not sharded.

    `rollouts` has the tokens of the policy's own responses by prompt. The gradient is measured for the first
    `gradients` rows, one by one, and leaves no gradient behind.
    """
    model.train(False)
    return [
        Distance(
            len(row.response),
            nll,
            ranks,
            overlap(row.response, rollouts.get(row.prompt_id, ())),
            _gradient_norm(model, row) if number < gradients else None,
        )
        for number, (row, (nll, ranks)) in enumerate(zip(rows, _likelihoods(model, rows), strict=True))
    ]


def summary(of: Sequence[Distance]) -> dict[str, float | int]:
    """Means over the trajectories of a source that have a value; NLL and rank over all their tokens.

    rank_over_nll is the rank-surprisal ratio of arXiv 2601.14249: the mean rank over the mean NLL.
    """
    tokens = sum(one.tokens for one in of)
    nll, rank = (sum(getattr(one, name) for one in of) / tokens for name in ("nll", "ranks"))
    means = {
        "overlap": [one.overlap for one in of if one.overlap is not None],
        "gradient_norm": [one.gradient_norm for one in of if one.gradient_norm is not None],
    }
    return {
        "trajectories": len(of),
        "tokens": tokens / len(of),
        "nll": nll,
        "rank": rank,
        "rank_over_nll": rank / nll,
        **{name: fmean(values) for name, values in means.items() if values},
    }


def overlap(response: Sequence[int], rollouts: Iterable[Sequence[int]]) -> float | None:
    """Share of the distinct 3-grams of `response` that are in one of the rollouts."""
    own = set().union(*map(_grams, rollouts))
    grams = _grams(response)
    return len(grams & own) / len(grams) if grams and own else None


def _grams(tokens: Sequence[int]) -> set[tuple[int, ...]]:
    return {tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)}


@torch.no_grad()
def _likelihoods(model: PreTrainedModel, rows: Sequence[TrainingRow]) -> list[tuple[float, float]]:
    """The sums of NLL and rank of each row."""
    vocabulary: int = model.config.get_text_config().vocab_size
    sums = [(0.0, 0.0)] * len(rows)
    for indices in micro_batches(rows, torch.ones(len(rows)), LOGITS // vocabulary):
        batch = pad([rows[i] for i in indices], 0, model.device)
        logp, rank = _logp_and_rank(model, batch)
        for i, nll, ranks in zip(indices, (-logp).sum(1).tolist(), rank.sum(1).tolist(), strict=True):
            sums[i] = (nll, ranks)
    return sums


def _logp_and_rank(model: PreTrainedModel, batch: Padded) -> tuple[Tensor, Tensor]:
    """log pi and rank of each response token, [B, T] float64, 0 past the end of a row."""
    row, position, column = batch.tokens
    logits = model(input_ids=batch.input_ids, use_cache=False).logits[row, column - 1].float()
    target = batch.input_ids[row, column][:, None]
    logp = logits.log_softmax(-1).gather(1, target).squeeze(1)
    rank = (1 + (logits > logits.gather(1, target)).sum(1)).clamp(max=LARGEST_RANK)
    logp_of_rows, rank_of_rows = (
        torch.zeros(batch.mask.shape, dtype=torch.float64, device=model.device).index_put(
            (row, position), values.double()
        )
        for values in (logp, rank)
    )
    return logp_of_rows, rank_of_rows


def _gradient_norm(model: PreTrainedModel, row: TrainingRow) -> float:
    batch = pad([row], 0, model.device)
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        nll = -token_logprobs(model, batch, 1.0).logp.sum() / len(row.response)
        nll.backward()  # type: ignore[no-untyped-call]
    squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return float(torch.stack(squares).sum().sqrt())
