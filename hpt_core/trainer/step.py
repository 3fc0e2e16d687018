"""One optimizer step on one mini-batch: plan, micro-batches on every rank, clip or skip, update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hpt_core.config import TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.batching import Padded, TrainingRow, pad
from hpt_core.policy.logprobs import TokenLogprobs, autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.algorithm_options import regularisers_of
from hpt_core.trainer.batch import dummy_row, rank_batches, row_info
from hpt_core.trainer.metrics import Totals, observe
from hpt_core.trainer.optimizer_step import clip_and_step
from hpt_core.trainer.ranks import ALONE, Ranks
from hpt_core.trainer.reference_policy import Reference
from hpt_core.trainer.throughput import flops
from hpt_core.types import RowInfo, Tokens
from hpt_core.upge import Plan, clipped, plan, returns, surrogate
from hpt_core.upge.regularise import RegulariserInputs, Regularisers

REMEDY = "lower train.optimizer.lr, or train with autocast: float32"


@dataclass(frozen=True)
class MiniBatch:
    """The rows of one optimizer step, the same on every rank, and what was decided about them."""

    rows: Sequence[TrainingRow]
    known: RowInfo
    planned: Plan
    config: TrainConfig
    options: Mapping[str, Any]
    temperature: float
    regularisers: Regularisers
    reference: Reference | None
    returns: Tensor | None
    """[B, T], what PPO's value head is fitted to."""

    @property
    def needed(self) -> Tensor:
        """[B] bool, the row has a gradient, be it of a regulariser alone."""
        active = self.planned.active
        return active | self.planned.kept if self.regularisers else active

    @property
    def regularised(self) -> int:
        """Tokens that the regularisers are a mean over."""
        return int(self.known.length[self.planned.kept].sum())


def update(
    policy_module: PolicyModule,
    optimizers: Sequence[Optimizer],
    rows: Sequence[TrainingRow],
    config: TrainConfig,
    options: Mapping[str, Any],
    *,
    temperature: float,
    ranks: Ranks = ALONE,
    reference: Reference | None = None,
) -> Totals:
    """Take one step on `rows`, the whole mini-batch, which every rank gives; returns its sums over all ranks.

    `reference` is what a KL (train.kl) is measured from. Raises TrainingError, on every rank alike, for a
    loss or a gradient that is not finite, and for rows that lack what the algorithm needs, with the prompts
    behind it. A mini-batch without a gradient (every group of equal rewards) leaves the weights alone.
    """
    batch = _prepare(rows, config, options, temperature, policy_module.device, reference)
    needed = batch.needed
    totals = Totals()
    totals.add({"rows_trained": int(needed.sum()), "rows_expert": int((needed & batch.known.expert).sum())})
    if not needed.any():
        totals.add({"updates_empty": 1})
        return totals
    totals.add(_accumulate(policy_module, batch, ranks).sums)
    try:
        totals.add(clip_and_step(policy_module, optimizers, config))
    except TrainingError as error:
        raise TrainingError(f"{error} on prompts {_names(rows)}; {REMEDY}") from error
    return totals


def _prepare(
    rows: Sequence[TrainingRow],
    config: TrainConfig,
    options: Mapping[str, Any],
    temperature: float,
    device: torch.device,
    reference: Reference | None,
) -> MiniBatch:
    known = row_info(rows, device)
    try:
        planned = plan(config.algorithm, known, **options)
    except ValueError as error:
        raise TrainingError(
            f"train.algorithm {config.algorithm}: {error} (prompts {_names(rows)})"
        ) from error
    wanted = regularisers_of(config)
    targets = returns(config.algorithm, known, **options) if wanted.value else None
    return MiniBatch(rows, known, planned, config, options, temperature, wanted, reference, targets)


def _accumulate(policy_module: PolicyModule, batch: MiniBatch, ranks: Ranks) -> Totals:
    """The gradient of the mini-batch, from this rank's part and the others'; returns all ranks' sums."""
    policy_module.train()
    totals, losses = Totals(), []
    for chosen in rank_batches(batch.rows, batch.needed, batch.config.microbatch_tokens, ranks):
        if chosen is None:
            _keep_step(policy_module, batch)
            continue
        members = [batch.rows[i] for i in chosen]
        loss = _loss(policy_module, batch, chosen, members, totals)
        loss.backward()  # type: ignore[no-untyped-call]
        totals.add({"flops": flops(policy_module.model, [row.length for row in members])})
        losses.append((members, loss.detach()))
    # A rank that stopped at its NaN would leave the others waiting, so all go on to here and stop together.
    faults = [
        f"the loss is {float(loss)} on prompts {_names(members)}"
        for members, loss in losses
        if not loss.isfinite()
    ]
    everywhere, found = Totals(), list[str]()
    for sums, theirs in ranks.gather([(totals.sums, faults)]):
        everywhere.add(sums)
        found += theirs
    if found:
        raise TrainingError(f"{found[0]}; {REMEDY}")
    return everywhere


def _keep_step(policy_module: PolicyModule, batch: MiniBatch) -> None:
    """Forward and backward passes to no effect: layers come together only where every rank asks for them."""
    padded = pad(dummy_row(batch.rows, batch.needed), 0, policy_module.device)
    said, _ = _forward(policy_module, batch, padded)
    # Filled, not multiplied by 0: a NaN has no say.
    nothing = [
        part.masked_fill(torch.ones_like(part, dtype=torch.bool), 0.0) for part in said if part is not None
    ]
    torch.stack(nothing).sum().backward()  # type: ignore[no-untyped-call]


def _forward(
    policy_module: PolicyModule, batch: MiniBatch, padded: Padded
) -> tuple[TokenLogprobs, Tensor | None]:
    """What the policy says of the rows, and logp [B, T] of the reference where a KL asks for it."""
    wanted = batch.regularisers
    with autocast(policy_module.device, batch.config.autocast):
        said = policy_module(
            padded, batch.temperature, entropy_gradient=wanted.entropy > 0, values=wanted.value > 0
        )
        if not wanted.kl or batch.reference is None:
            return said, None
        return said, batch.reference.logp(padded, batch.temperature)


def _loss(
    policy_module: PolicyModule,
    batch: MiniBatch,
    chosen: list[int],
    members: Sequence[TrainingRow],
    totals: Totals,
) -> Tensor:
    """This micro-batch's part of the loss; `chosen` says where its rows stand in the mini-batch."""
    known, options = batch.known, batch.options
    part = torch.tensor(chosen, device=policy_module.device)
    padded = pad(members, 0, policy_module.device)
    said, logp_reference = _forward(policy_module, batch, padded)
    width = padded.mask.shape[1]
    tokens = Tokens(
        logp=said.logp,
        # Where nobody kept it, this is the step's first update and the policy still the old one.
        logp_old=torch.where(padded.recorded[:, None], padded.logp_old.to(said.logp), said.logp.detach()),
        mask=padded.mask,
        reward=known.reward[part],
        group=known.group[part],
        expert=known.expert[part],
        entropy=said.entropy,
        value=None if known.value is None else known.value[part, :width],
        logp_sampled=padded.logp_sampled.to(said.logp),
    )
    planned = batch.planned[part]
    loss = surrogate(batch.config.algorithm, tokens, planned, **options)
    targets = None if batch.returns is None else batch.returns[part, :width].to(said.logp)
    measured = RegulariserInputs(said.logp, logp_reference, said.entropy, said.value, tokens.value, targets)
    if batch.regularisers:
        here = padded.mask & planned.kept[:, None]
        loss = loss + batch.regularisers(measured, here, max(1, batch.regularised))
    held = clipped(batch.config.algorithm, tokens, planned, **options)
    totals.add(observe(tokens, members, held, measured))
    return loss


def _names(rows: Sequence[TrainingRow]) -> str:
    names = list(dict.fromkeys(row.prompt_id for row in rows))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
