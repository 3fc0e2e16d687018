"""The end of an update: the gradient is clipped, then the optimizers step or skip."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import nn
from torch.optim import Optimizer

from hpt_core.config import TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy import host_moments
from hpt_core.policy.weights.gathering import full_tensor


def clip_and_step(
    module: nn.Module, optimizers: Sequence[Optimizer], config: TrainConfig
) -> dict[str, float]:
    """Step unless the gradient's norm over all ranks is above `skip_norm`; returns the counts of both.

    Raises TrainingError, before the step, for a norm that is not finite.
    """
    # The norm of shards is a shard itself. The full tensor is the same on every rank, so all decide alike.
    norm = float(full_tensor(torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)))
    if not isfinite(norm):
        raise TrainingError(f"the gradient norm is {norm}")
    skipped = config.skip_norm is not None and norm > config.skip_norm
    if not skipped:
        for optimizer in optimizers:
            host_moments.step(optimizer)
    module.zero_grad(set_to_none=True)
    return {
        "updates": 1,
        "grad_norm": norm,
        "updates_skipped": skipped,
        "updates_clipped": norm > config.clip_norm,
    }
