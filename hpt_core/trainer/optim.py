"""The optimizers: AdamW as the released settings have it, or Muon on the matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim import Optimizer
from transformers import PreTrainedModel

from hpt_core.config import OptimizerConfig


def build_optimizers(model: PreTrainedModel, config: OptimizerConfig) -> list[Optimizer]:
    """One optimizer for every trained parameter, or two: Muon (Jordan 2024) has matrices alone.

    Weight decay is on matrices only: gains and biases have no scale to decay.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # Muon's orthogonal steps suit maps between hidden states; an embedding's rows are no such map.
    hidden = {
        name for name, p in trained.items() if p.ndim == 2 and "embed" not in name and "lm_head" not in name
    }
    muon = hidden if config.name == "muon" else set()
    groups = [
        {
            "params": [p for name, p in trained.items() if p.ndim >= 2 and name not in muon],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in trained.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (config.betas[0], config.betas[1])
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, betas=betas)]
    if muon:
        matrices = [p for name, p in trained.items() if name in muon]
        optimizers.append(torch.optim.Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def scale_rates(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times its configured value."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def rate_factor(step: int, steps: int, warmup: int, cooldown: int) -> float:
    """The factor of `step` (from 1 to `steps`): a linear rise, 1, and a linear fall to almost 0.

    A function of the step alone, so that resuming needs no state.
    """
    return min(1.0, step / max(1, warmup), (steps - step + 1) / max(1, cooldown))
