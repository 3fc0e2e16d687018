"""The end of a step: clip the gradient, then step or skip."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import nn
from torch.optim import Optimizer

from hpt_core.config import TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.model import whole


def clip_and_step(
    module: nn.Module, optimizers: Sequence[Optimizer], config: TrainConfig
) -> dict[str, float]:
    """Take the step unless the gradient's norm, over all ranks, is above skip_norm; both are counted.

    Raises TrainingError, before the step, where the norm is not finite.
    """
    # Of shards the norm comes as a shard too; whole, it is the same on every rank, and so what follows.
    norm = float(whole(torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)))
    if not isfinite(norm):
        raise TrainingError(f"the gradient norm is {norm}")
    skipped = config.skip_norm is not None and norm > config.skip_norm
    if not skipped:
        for optimizer in optimizers:
            optimizer.step()
    module.zero_grad(set_to_none=True)
    return {
        "updates": 1,
        "grad_norm": norm,
        "updates_skipped": skipped,
        "updates_clipped": norm > config.clip_norm,
    }
