"""Which micro-batches each rank computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpt_core.trainer.batch import Row, micro_batches
from hpt_core.trainer.ranks import Ranks, deal


def work(rows: Sequence[Row], active: Tensor, budget: int, ranks: Ranks) -> list[list[int] | None]:
    """This rank's micro-batches of the active rows [B] bool, as many as on every other rank.

    None stands for one that it has not. Every rank makes this out for all, so that none need be asked.
    """
    where = active.nonzero().squeeze(1)
    cuts = []
    for positions in deal([rows[i].length for i in where.tolist()], ranks.count):
        dealt = torch.zeros_like(active)
        dealt[where[positions]] = True
        cuts.append(list(micro_batches(rows, dealt, budget)))
    mine = cuts[ranks.index]
    return [*mine, *[None] * (max(map(len, cuts)) - len(mine))]


def shortest(rows: Sequence[Row], active: Tensor) -> list[Row]:
    """A row for a forward pass to no effect, in step with the other ranks'.

    An active one, so that what it overflows in is an error already.
    """
    return [min((rows[i] for i in active.nonzero().squeeze(1).tolist()), key=lambda row: row.length)]
