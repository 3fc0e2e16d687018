"""One update on one mini-batch: plan, micro-batches on every rank, gradient clipping, optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.errors import TrainingError
from hpt_core.policy.batching import TrainingRow
from hpt_core.trainer.algorithm_options import regularisers_of
from hpt_core.trainer.batch import rank_batches, row_info
from hpt_core.trainer.measures.metrics import Totals
from hpt_core.trainer.mini_batch import Learner, MiniBatch
from hpt_core.trainer.optimizer_step import clip_and_step
from hpt_core.trainer.step_records import Decisions
from hpt_core.types import RowInfo
from hpt_core.upge import algorithm, plan, returns

REMEDY = "lower train.optimizer.lr, or train with autocast: float32"


def update(learner: Learner, rows: Sequence[TrainingRow], decisions: Decisions | None = None) -> Totals:
    """Take one step on `rows`, the whole mini-batch, the same on every rank; returns its sums over all ranks.

    `decisions` collects what the plan decided about each row and whether the optimizer stepped. A mini-batch
    without a gradient leaves the weights as they are and counts as empty: one whose groups all have equal
    rewards, or one without a row of a kind that the method trains on, such as demonstrations for sft.

    Raises TrainingError, on every rank alike, for a loss or a gradient that is not finite, and for rows that
    lack what the algorithm needs, and names the prompts.
    """
    info, totals = row_info(rows, learner.device), Totals()
    if not algorithm(learner.config.algorithm).trains_on(info.expert).any():
        totals.add({"updates_empty": 1})
        return totals
    batch = _prepare(learner, rows, info)
    needed = batch.needed.clone()
    if needed.any():
        sums, masked = _accumulate(batch)
        totals.add(sums.sums)
        if not batch.regularisers:
            needed[masked] = False
        try:
            totals.add(clip_and_step(learner.policy_module, learner.optimizers, learner.config))
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


def _prepare(learner: Learner, rows: Sequence[TrainingRow], info: RowInfo) -> MiniBatch:
    name, options = learner.config.algorithm, learner.options
    try:
        planned = plan(name, info, **options)
    except ValueError as error:
        raise TrainingError(f"train.algorithm {name}: {error} (prompts {_names(rows)})") from error
    regularisers = regularisers_of(learner.config)
    targets = returns(name, info, **options) if regularisers.value else None
    return MiniBatch(learner, rows, info, planned, regularisers, targets)


def _accumulate(batch: MiniBatch) -> tuple[Totals, list[int]]:
    """Accumulate the gradient of this rank's micro-batches.

    Returns the sums over all ranks, and the indices of all rows that a mask took out of the update.
    """
    learner = batch.learner
    learner.policy_module.train()
    totals, losses, masked = Totals(), [], list[int]()
    budget = learner.config.microbatch_tokens
    for chosen in rank_batches(batch.rows, batch.needed, budget, learner.ranks, batch.capacity):
        if chosen is None:
            batch.dummy_pass()
            continue
        loss, kept = batch.loss(chosen, totals)
        masked += [i for i, keep in zip(chosen, kept.tolist(), strict=True) if not keep]
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append((chosen, loss.detach()))
    # A rank that raised at its NaN would leave the others waiting, so all ranks raise here together.
    faults = [
        f"the loss is {float(loss)} on prompts {_names([batch.rows[i] for i in chosen])}"
        for chosen, loss in losses
        if not loss.isfinite()
    ]
    all_totals, all_faults, all_masked = Totals(), list[str](), list[int]()
    found = [(totals.sums, faults, masked)] if learner.ranks.counts_rows else []
    for rank_sums, rank_faults, rank_masked in learner.ranks.gather(found):
        all_totals.add(rank_sums)
        all_faults += rank_faults
        all_masked += rank_masked
    if all_faults:
        raise TrainingError(f"{all_faults[0]}; {REMEDY}")
    return all_totals, all_masked


def _names(rows: Sequence[TrainingRow]) -> str:
    names = list(dict.fromkeys(row.prompt_id for row in rows))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
