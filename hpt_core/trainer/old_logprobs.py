"""What a method must know of the policy as it was before a step's first update.

PPO asks for the values of its rollouts, PSFT and RL-PLUS for the log-probabilities of demonstrations, and
truncated importance sampling for those of rollouts, beside what the sampler said. Nothing else costs a
forward pass here: rollouts bring their sampler's log-probabilities with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from hpt_core.config import TrainConfig
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.logprobs import autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.batch import dummy_row, rank_batches
from hpt_core.trainer.ranks import Ranks
from hpt_core.upge import algorithm


@torch.no_grad()
def with_old_logprobs(
    policy_module: PolicyModule,
    rows: Sequence[TrainingRow],
    config: TrainConfig,
    temperature: float,
    ranks: Ranks,
) -> list[TrainingRow]:
    """The rows of a whole step with `value` and `logp_old` where the method asks for them."""
    wanted = Needed.of(config, dropout=policy_module.drops_out)
    if config.importance_cap is not None:
        # Where nobody recalls it, the step has one update and the policy is still the old one.
        rows = [replace(row, logp_old=()) for row in rows]
    asked = torch.tensor([wanted.experts if row.kind is not None else wanted.rollouts for row in rows])
    if not asked.any():
        return list(rows)
    policy_module.eval()
    found: list[tuple[int, TrainingRow]] = []
    for chosen in rank_batches(rows, asked, config.microbatch_tokens, ranks):
        members = dummy_row(rows, asked) if chosen is None else [rows[i] for i in chosen]
        batch = pad(members, 0, policy_module.device)
        with autocast(policy_module.device, config.autocast):
            said = policy_module(batch, temperature, values=wanted.values)
        for position, i in enumerate(chosen or ()):
            row, length = rows[i], len(rows[i].response)
            if row.kind is None and wanted.values:
                row = replace(row, value=said.value[position, :length].tolist())
            if row.kind is not None or wanted.old:
                row = replace(row, logp_old=said.logp[position, :length].tolist())
            found.append((i, row))
    recalled = dict(ranks.gather(found))
    return [recalled.get(i, row) for i, row in enumerate(rows)]


class Needed(NamedTuple):
    """With one update in a step the policy before it is the policy itself, which nobody needs to ask."""

    values: bool
    """Of rollouts."""
    old: bool
    """Log-probabilities of rollouts."""
    experts: bool
    """Log-probabilities of demonstrations."""

    @property
    def rollouts(self) -> bool:
        return self.values or self.old

    @classmethod
    def of(cls, config: TrainConfig, *, dropout: bool) -> Needed:
        """With `dropout` what a training forward pass says is not what the policy says."""
        needs, several = algorithm(config.algorithm).needs, config.updates_per_step > 1
        old = config.importance_cap is not None and (several or dropout)
        return cls("value" in needs, old, several and "old_demonstrations" in needs)
