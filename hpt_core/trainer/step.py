"""One update on one mini-batch: plan, micro-batches on every rank, gradient clipping, optimizer step."""

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
from hpt_core.trainer.step_records import Decisions
from hpt_core.trainer.throughput import flops
from hpt_core.types import RowInfo, Tokens
from hpt_core.upge import Plan, algorithm, clipped, kept_rows, plan, returns, surrogate
from hpt_core.upge.regularise import RegulariserInputs, Regularisers

REMEDY = "lower train.optimizer.lr, or train with autocast: float32"


@dataclass(frozen=True)
class MiniBatch:
    """The rows of one update, the same on every rank, and their plan."""

    rows: Sequence[TrainingRow]
    info: RowInfo
    planned: Plan
    config: TrainConfig
    options: Mapping[str, Any]
    temperature: float
    regularisers: Regularisers
    reference: Reference | None
    returns: Tensor | None
    """[B, T], the targets of PPO's value head."""

    @property
    def needed(self) -> Tensor:
        """[B] bool, the row has a gradient, of the estimator or of a regulariser."""
        active = self.planned.active
        return active | self.planned.kept if self.regularisers else active

    @property
    def regularised(self) -> int:
        """Number of tokens that the regularisers are a mean over."""
        return int(self.info.length[self.planned.kept].sum())


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
    decisions: Decisions | None = None,
) -> Totals:
    """Take one step on `rows`, the whole mini-batch, the same on every rank; returns its sums over all ranks.

    `reference` is the policy that a KL (train.kl) is measured from. `decisions` collects what the plan
    decided about each row and whether the optimizer stepped. A mini-batch without a gradient leaves the
    weights as they are and counts as empty: one whose groups all have equal rewards, or one without a row of
    a kind that the method trains on, such as demonstrations for sft.

    Raises TrainingError, on every rank alike, for a loss or a gradient that is not finite, and for rows that
    lack what the algorithm needs, and names the prompts.
    """
    info, totals = row_info(rows, policy_module.device), Totals()
    if not algorithm(config.algorithm).trains_on(info.expert).any():
        totals.add({"updates_empty": 1})
        return totals
    batch = _prepare(rows, info, config, options, temperature, reference)
    needed = batch.needed.clone()
    if needed.any():
        sums, masked = _accumulate(policy_module, batch, ranks)
        totals.add(sums.sums)
        if not batch.regularisers:
            needed[masked] = False
        try:
            totals.add(clip_and_step(policy_module, optimizers, config))
        except TrainingError as error:
            raise TrainingError(f"{error} on prompts {_names(rows)}; {REMEDY}") from error
    else:
        totals.add({"updates_empty": 1})
    stepped = totals["updates"] > totals["updates_skipped"]
    if stepped:
        totals.add(
            {
                "rows_trained": int(needed.sum()),
                "rows_expert": int((needed & batch.info.expert).sum()),
                "tokens_trained": totals["tokens"],
            }
        )
    if decisions is not None:
        decisions.add(rows, batch.planned, needed, stepped=stepped)
    return totals


def _prepare(
    rows: Sequence[TrainingRow],
    info: RowInfo,
    config: TrainConfig,
    options: Mapping[str, Any],
    temperature: float,
    reference: Reference | None,
) -> MiniBatch:
    try:
        planned = plan(config.algorithm, info, **options)
    except ValueError as error:
        raise TrainingError(
            f"train.algorithm {config.algorithm}: {error} (prompts {_names(rows)})"
        ) from error
    regularisers = regularisers_of(config)
    targets = returns(config.algorithm, info, **options) if regularisers.value else None
    return MiniBatch(rows, info, planned, config, options, temperature, regularisers, reference, targets)


def _accumulate(policy_module: PolicyModule, batch: MiniBatch, ranks: Ranks) -> tuple[Totals, list[int]]:
    """Accumulate the gradient of this rank's micro-batches.

    Returns the sums over all ranks, and the indices of all rows that a mask took out of the update.
    """
    policy_module.train()
    totals, losses, masked = Totals(), [], list[int]()
    for chosen in rank_batches(batch.rows, batch.needed, batch.config.microbatch_tokens, ranks):
        if chosen is None:
            _dummy_pass(policy_module, batch)
            continue
        members = [batch.rows[i] for i in chosen]
        loss, kept = _loss(policy_module, batch, chosen, members, totals)
        masked += [i for i, keep in zip(chosen, kept.tolist(), strict=True) if not keep]
        loss.backward()  # type: ignore[no-untyped-call]
        totals.add({"flops": flops(policy_module.model, [row.length for row in members])})
        losses.append((members, loss.detach()))
    # A rank that raised at its NaN would leave the others waiting, so all ranks raise here together.
    faults = [
        f"the loss is {float(loss)} on prompts {_names(members)}"
        for members, loss in losses
        if not loss.isfinite()
    ]
    all_totals, all_faults, all_masked = Totals(), list[str](), list[int]()
    for rank_sums, rank_faults, rank_masked in ranks.gather([(totals.sums, faults, masked)]):
        all_totals.add(rank_sums)
        all_faults += rank_faults
        all_masked += rank_masked
    if all_faults:
        raise TrainingError(f"{all_faults[0]}; {REMEDY}")
    return all_totals, all_masked


def _dummy_pass(policy_module: PolicyModule, batch: MiniBatch) -> None:
    """Forward and backward passes without effect: FSDP gathers a layer only when all ranks take part."""
    padded = pad(dummy_row(batch.rows, batch.needed), 0, policy_module.device)
    outputs, _ = _forward(policy_module, batch, padded)
    # masked_fill, since a NaN times 0 is a NaN.
    zeros = [
        part.masked_fill(torch.ones_like(part, dtype=torch.bool), 0.0) for part in outputs if part is not None
    ]
    torch.stack(zeros).sum().backward()  # type: ignore[no-untyped-call]


def _forward(
    policy_module: PolicyModule, batch: MiniBatch, padded: Padded
) -> tuple[TokenLogprobs, Tensor | None]:
    """The policy's outputs for the rows, and logp [B, T] of the reference where there is a KL."""
    regularisers = batch.regularisers
    with autocast(policy_module.device, batch.config.autocast):
        outputs = policy_module(
            padded,
            batch.temperature,
            entropy_gradient=regularisers.entropy > 0,
            values=regularisers.value > 0,
        )
        if not regularisers.kl or batch.reference is None:
            return outputs, None
        return outputs, batch.reference.logp(padded, batch.temperature)


def _loss(
    policy_module: PolicyModule,
    batch: MiniBatch,
    chosen: list[int],
    members: Sequence[TrainingRow],
    totals: Totals,
) -> tuple[Tensor, Tensor]:
    """This micro-batch's part of the loss, and which of its rows [B] bool a mask keeps.

    `chosen` has the indices of its rows in the mini-batch.
    """
    info, options = batch.info, batch.options
    part = torch.tensor(chosen, device=policy_module.device)
    padded = pad(members, 0, policy_module.device)
    outputs, logp_reference = _forward(policy_module, batch, padded)
    width = padded.mask.shape[1]
    tokens = Tokens(
        logp=outputs.logp,
        # Rows without a recorded logp_old are in the step's first update, so the policy still is the old one.
        logp_old=torch.where(
            padded.recorded[:, None], padded.logp_old.to(outputs.logp), outputs.logp.detach()
        ),
        mask=padded.mask,
        reward=info.reward[part],
        group=info.group[part],
        expert=info.expert[part],
        entropy=outputs.entropy,
        value=None if info.value is None else info.value[part, :width],
        logp_sampled=padded.logp_sampled.to(outputs.logp),
    )
    planned = batch.planned[part]
    loss = surrogate(batch.config.algorithm, tokens, planned, **options)
    targets = None if batch.returns is None else batch.returns[part, :width].to(outputs.logp)
    inputs = RegulariserInputs(
        outputs.logp, logp_reference, outputs.entropy, outputs.value, tokens.value, targets
    )
    if batch.regularisers:
        regularised = padded.mask & planned.kept[:, None]
        loss = loss + batch.regularisers(inputs, regularised, max(1, batch.regularised))
    kept = kept_rows(batch.config.algorithm, tokens, **options)
    if options.get("sequence_mask") is not None:
        totals.add({"rows_masked": int((~kept).sum()), "rows_maskable": int((~tokens.expert).sum())})
    totals.add(observe(tokens, members, clipped(batch.config.algorithm, tokens, planned, **options), inputs))
    return loss, kept


def _names(rows: Sequence[TrainingRow]) -> str:
    names = list(dict.fromkeys(row.prompt_id for row in rows))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
