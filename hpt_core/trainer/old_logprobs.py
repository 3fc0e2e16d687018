"""Values and log-probabilities of a step's rows under the policy before the step's first update.

PPO needs the values of its rollouts. PSFT and RL-PLUS need the log-probabilities of demonstrations. Weights
of rollouts and masks of them by the sampler's ratio need the trainer's log-probabilities of rollouts. No
other method costs a forward pass here, since rollouts come with their sampler's log-probabilities.
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
    """The rows of a whole step with `value` and `logp_old` where the method needs them."""
    needed = Needed.of(config)
    if compares_with_sampler(config):
        # Rows without logp_old belong to a step with a single update, in which the policy is still the old
        # one.
        rows = [replace(row, logp_old=()) for row in rows]
    selected = torch.tensor([needed.row(row) for row in rows])
    if not selected.any():
        return list(rows)
    policy_module.eval()
    computed: list[tuple[int, TrainingRow]] = []
    for chosen in rank_batches(rows, selected, config.microbatch_tokens, ranks):
        members = dummy_row(rows, selected) if chosen is None else [rows[i] for i in chosen]
        batch = pad(members, 0, policy_module.device)
        with autocast(policy_module.device, config.autocast):
            outputs = policy_module(batch, temperature, values=needed.values)
        for position, i in enumerate(chosen or ()):
            row, length = rows[i], len(rows[i].response)
            if row.kind is None and needed.values:
                row = replace(row, value=outputs.value[position, :length].tolist())
            if row.kind is not None or needed.old:
                row = replace(row, logp_old=outputs.logp[position, :length].tolist())
            computed.append((i, row))
    by_index = dict(ranks.gather(computed))
    return [by_index.get(i, row) for i, row in enumerate(rows)]


def compares_with_sampler(config: TrainConfig) -> bool:
    """Whether pi_old has to be the trainer's own, since it is compared with the sampler's."""
    mask = config.sequence_mask
    return config.importance is not None or (mask is not None and mask.ratio == "sampler")


class Needed(NamedTuple):
    """What has to be computed. With one update in a step, the old policy is the policy itself."""

    values: bool
    """Values of rollouts."""
    old: bool
    """Log-probabilities of rollouts."""
    experts: bool
    """Log-probabilities of demonstrations."""

    @property
    def rollouts(self) -> bool:
        return self.values or self.old

    def row(self, row: TrainingRow) -> bool:
        """Whether the row costs a forward pass."""
        return self.experts if row.kind is not None else self.rollouts

    @classmethod
    def of(cls, config: TrainConfig) -> Needed:
        needs, several = algorithm(config.algorithm).needs, config.updates_per_step > 1
        old = compares_with_sampler(config) and several
        return cls("value" in needs, old, several and "old_demonstrations" in needs)
