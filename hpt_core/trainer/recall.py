"""What a method must know of the policy as it was before a step's first update.

PPO asks for the values of its rollouts, PSFT and RL-PLUS for the log-probabilities of demonstrations. No
other method costs a forward pass here: rollouts bring their sampler's log-probabilities with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hpt_core.config import TrainConfig
from hpt_core.trainer.batch import Row, pad
from hpt_core.trainer.learner import Learner
from hpt_core.trainer.likelihood import autocast
from hpt_core.trainer.ranks import Ranks
from hpt_core.trainer.work import shortest, work
from hpt_core.upge import algorithm


@torch.no_grad()
def recall(
    learner: Learner, rows: Sequence[Row], config: TrainConfig, temperature: float, ranks: Ranks
) -> list[Row]:
    """The rows of a whole step with `value` and `logp_old` where the method asks for them."""
    values, experts = wanted(config)
    asked = torch.tensor([experts if row.kind is not None else values for row in rows])
    if not asked.any():
        return list(rows)
    learner.eval()
    found: list[tuple[int, Row]] = []
    for chosen in work(rows, asked, config.microbatch_tokens, ranks):
        members = shortest(rows, asked) if chosen is None else [rows[i] for i in chosen]
        batch = pad(members, 0, learner.device)
        with autocast(learner.device, config.autocast):
            said = learner(batch, temperature, values=values)
        for position, i in enumerate(chosen or ()):
            row, length = rows[i], len(rows[i].response)
            if row.kind is None:
                row = replace(row, value=said.value[position, :length].tolist())
            else:
                row = replace(row, logp_old=said.logp[position, :length].tolist())
            found.append((i, row))
    recalled = dict(ranks.gather(found))
    return [recalled.get(i, row) for i, row in enumerate(rows)]


def wanted(config: TrainConfig) -> tuple[bool, bool]:
    """Whether rollouts need values, and demonstrations old log-probabilities.

    With one update in a step the policy before it is the policy itself, which nobody needs to ask.
    """
    needs = algorithm(config.algorithm).needs
    return "value" in needs, "old_demonstrations" in needs and config.updates_per_step > 1
