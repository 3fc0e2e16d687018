"""One optimizer step on one mini-batch: plan, micro-batches, clip or skip, update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from hpt_core.config import TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.trainer.batch import Row, facts, micro_batches, pad
from hpt_core.trainer.likelihood import autocast, token_likelihood
from hpt_core.types import Rows, Tokens
from hpt_core.upge import plan, surrogate


class Totals:
    """Named sums over the tokens of mini-batches, from which means are made at the end; 0 if never added."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, 0.0)

    def add(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.sums[name] += value

    def mean(self, name: str, over: str) -> float | None:
        """The ratio of two sums; None over nothing."""
        return self[name] / self[over] if self[over] else None


def update(
    model: PreTrainedModel,
    optimizers: Sequence[Optimizer],
    rows: Sequence[Row],
    config: TrainConfig,
    options: Mapping[str, Any],
    *,
    temperature: float,
) -> Totals:
    """Take one step on `rows`, the whole mini-batch; returns its sums.

    Raises TrainingError for a loss or a gradient that is not finite, and for rows that lack what the
    algorithm needs, with the prompts behind it.
    A mini-batch without a gradient (every group of equal rewards) leaves the weights alone.
    """
    known = facts(rows, model.device)
    try:
        planned = plan(config.algorithm, known, **options)
    except ValueError as error:
        raise TrainingError(
            f"train.algorithm {config.algorithm}: {error} (prompts {_names(rows)})"
        ) from error
    totals = Totals()
    totals.add(
        {"rows_trained": int(planned.active.sum()), "rows_expert": int((planned.active & known.expert).sum())}
    )
    model.train()
    for chosen in micro_batches(rows, planned.active, config.microbatch_tokens):
        part = torch.tensor(chosen, device=model.device)
        members = [rows[i] for i in chosen]
        tokens = _forward(model, members, known, part, config, temperature)
        loss = surrogate(config.algorithm, tokens, planned[part], **options)
        if config.entropy_coefficient:
            on_policy = tokens.mask & ~tokens.expert[:, None]
            count = int(known.length[planned.active & ~known.expert].sum())
            loss = loss - config.entropy_coefficient * _entropy(tokens)[on_policy].sum() / max(1, count)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {float(loss.detach())} on prompts {_names(members)}; {_REMEDY}")
        loss.backward()  # type: ignore[no-untyped-call]
        _count(totals, tokens, members)
    totals.add(_step(model, optimizers, rows, config) if totals["rows_trained"] else {"updates_empty": 1})
    return totals


def _forward(
    model: PreTrainedModel,
    members: Sequence[Row],
    known: Rows,
    part: Tensor,
    config: TrainConfig,
    temperature: float,
) -> Tokens:
    """The tokens of a micro-batch; `part` [B] says where its rows stand in the mini-batch."""
    batch = pad(members, 0, model.device)
    with autocast(model.device, config.autocast):
        logp, entropy = token_likelihood(
            model, batch, temperature, entropy_gradient=config.entropy_coefficient > 0
        )
    return Tokens(
        logp=logp,
        logp_old=batch.logp_old,
        mask=batch.mask,
        reward=known.reward[part],
        group=known.group[part],
        expert=known.expert[part],
        entropy=entropy,
    )


def _step(
    model: PreTrainedModel, optimizers: Sequence[Optimizer], rows: Sequence[Row], config: TrainConfig
) -> dict[str, float]:
    """Clip the gradient and step, or skip; both are counted."""
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm))
    if not isfinite(norm):
        raise TrainingError(f"the gradient norm is {norm} on prompts {_names(rows)}; {_REMEDY}")
    skipped = config.skip_norm is not None and norm > config.skip_norm
    if not skipped:
        for optimizer in optimizers:
            optimizer.step()
    model.zero_grad(set_to_none=True)
    return {
        "updates": 1,
        "grad_norm": norm,
        "updates_skipped": skipped,
        "updates_clipped": norm > config.clip_norm,
    }


def _entropy(tokens: Tokens) -> Tensor:
    assert tokens.entropy is not None
    return tokens.entropy


_REMEDY = "lower train.optimizer.lr, or train with autocast: float32"


def _count(totals: Totals, tokens: Tokens, members: Sequence[Row]) -> None:
    """Add the sums of a micro-batch."""
    with torch.no_grad():
        rollout = tokens.mask & ~tokens.expert[:, None]
        ratio = (tokens.logp - tokens.logp_old)[rollout].exp()
        nll = -(tokens.logp * tokens.mask).sum(1)
        totals.add(
            {
                "tokens_trained": int(tokens.mask.sum()),
                "tokens_rollout": int(rollout.sum()),
                "ratio": float(ratio.sum()),
                "entropy": float(_entropy(tokens)[rollout].sum()),
            }
        )
        for row, value in zip(members, nll.tolist(), strict=True):
            if row.kind is not None:
                totals.add({f"nll/{row.kind}": value, f"tokens/{row.kind}": len(row.response)})


def _names(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(row.prompt_id for row in rows))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
