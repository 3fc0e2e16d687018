"""The rows of one update with their plan, and the loss of a part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hpt_core.config import TrainConfig
from hpt_core.policy.batching import Padded, TrainingRow, pad
from hpt_core.policy.logprobs import TokenLogprobs, autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.batch import dummy_row
from hpt_core.trainer.measures.metrics import Totals, observe
from hpt_core.trainer.measures.throughput import flops, forward_flops
from hpt_core.trainer.ranks import ALONE, Ranks
from hpt_core.trainer.reference_policy import Reference
from hpt_core.types import RowInfo, Tokens
from hpt_core.upge import Plan, clipped, kept_rows, masked, surrogate
from hpt_core.upge.regularise import RegulariserInputs, Regularisers


@dataclass(frozen=True)
class Learner:
    """The policy with its optimizers, and what all updates of a step have in common."""

    policy_module: PolicyModule
    optimizers: Sequence[Optimizer]
    config: TrainConfig
    options: Mapping[str, Any]
    """Of `hpt_core.upge`, at this step."""
    temperature: float
    """Of the distribution that is trained, that of the rollouts."""
    ranks: Ranks = ALONE
    reference: Reference | None = None
    """The policy that a KL (train.kl) is measured from."""

    @property
    def device(self) -> torch.device:
        return self.policy_module.device


@dataclass(frozen=True)
class MiniBatch:
    """The rows of one update, the same on every rank, and their plan."""

    learner: Learner
    rows: Sequence[TrainingRow]
    info: RowInfo
    planned: Plan
    regularisers: Regularisers
    returns: Tensor | None
    """[B, T], the targets of PPO's value head."""

    @cached_property
    def needed(self) -> Tensor:
        """[B] bool, the row has a gradient, of the estimator or of a regulariser."""
        active = self.planned.active
        return active | self.planned.kept if self.regularisers else active

    @cached_property
    def capacity(self) -> int | None:
        """Tokens of a sequence that rows may share: those of the longest row; None without packing."""
        if not self.learner.config.packing:
            return None
        return max(row.length for row, needed in zip(self.rows, self.needed.tolist(), strict=True) if needed)

    @property
    def regularised(self) -> int:
        """Number of tokens that the regularisers are a mean over."""
        return int(self.info.length[self.planned.kept].sum())

    def dummy_pass(self) -> None:
        """Forward and backward passes without effect: FSDP gathers a layer only when all ranks take part."""
        outputs, _ = self._forward(pad(dummy_row(self.rows, self.needed), 0, self.learner.device))
        # masked_fill, since a NaN times 0 is a NaN.
        zeros = [
            part.masked_fill(torch.ones_like(part, dtype=torch.bool), 0.0)
            for part in outputs
            if part is not None
        ]
        torch.stack(zeros).sum().backward()  # type: ignore[no-untyped-call]

    def loss(self, chosen: Sequence[int], totals: Totals) -> tuple[Tensor, Tensor]:
        """The part of the loss of the rows `chosen`, and which of them [B] bool a mask keeps.

        Adds the sums over their tokens to `totals`.
        """
        learner, members = self.learner, [self.rows[i] for i in chosen]
        name, options = learner.config.algorithm, learner.options
        part = torch.tensor(chosen, device=learner.device)
        padded = pad(members, 0, learner.device, self.capacity)
        outputs, logp_reference = self._forward(padded)
        tokens = self._tokens(part, padded, outputs)
        planned = self.planned[part]
        loss = surrogate(name, tokens, planned, **options)
        width = padded.mask.shape[1]
        targets = None if self.returns is None else self.returns[part, :width].to(outputs.logp)
        inputs = RegulariserInputs(
            outputs.logp, logp_reference, outputs.entropy, outputs.value, tokens.value, targets
        )
        if self.regularisers:
            regularised = padded.mask & planned.kept[:, None]
            loss = loss + self.regularisers(inputs, regularised, max(1, self.regularised))
        totals.add(self._masked(tokens))
        totals.add(observe(tokens, members, clipped(name, tokens, planned, **options), inputs))
        lengths = [row.length for row in members]
        totals.add({"flops": flops(learner.policy_module.model, lengths)})
        totals.add({"tokens_passed": sum(lengths), "tokens_with_padding": padded.input_ids.numel()})
        if logp_reference is not None:
            totals.add({"flops_reference": forward_flops(learner.policy_module.model, lengths)})
        return loss, kept_rows(name, tokens, **options)

    def _masked(self, tokens: Tokens) -> dict[str, int]:
        """Numbers of the rollouts and of their tokens, and of those among them that an option takes out."""
        options, counts = self.learner.options, dict[str, int]()
        rows, weightless = masked(self.learner.config.algorithm, tokens, **options)
        if options.get("sequence_mask") is not None:
            counts |= {"rows_masked": int(rows.sum()), "rows_maskable": int((~tokens.expert).sum())}
        if options.get("importance") is not None:
            rollout = tokens.mask & ~tokens.expert[:, None]
            counts |= {"tokens_masked": int(weightless.sum()), "tokens_maskable": int(rollout.sum())}
        return counts

    def _forward(self, padded: Padded) -> tuple[TokenLogprobs, Tensor | None]:
        """The policy's outputs for the rows, and logp [B, T] of the reference where there is a KL."""
        learner, regularisers = self.learner, self.regularisers
        with autocast(learner.device, learner.config.autocast):
            outputs = learner.policy_module(
                padded,
                learner.temperature,
                entropy_gradient=regularisers.entropy > 0,
                values=regularisers.value > 0,
            )
            if not regularisers.kl or learner.reference is None:
                return outputs, None
            return outputs, learner.reference.logp(padded, learner.temperature)

    def _tokens(self, part: Tensor, padded: Padded, outputs: TokenLogprobs) -> Tokens:
        info = self.info
        # Rows without a recorded logp_old are in the step's first update, so the policy still is the old one.
        recorded = padded.recorded[:, None]
        return Tokens(
            logp=outputs.logp,
            logp_old=torch.where(recorded, padded.logp_old.to(outputs.logp), outputs.logp.detach()),
            mask=padded.mask,
            reward=info.reward[part],
            group=info.group[part],
            expert=info.expert[part],
            entropy=outputs.entropy,
            value=None if info.value is None else info.value[part, : padded.mask.shape[1]],
            logp_sampled=padded.logp_sampled.to(outputs.logp),
        )
