"""The optimizers (AdamW, or Muon on the matrices with AdamW on the rest) and the learning rate schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Embedding as LoraEmbedding
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from hpt_core.config import OptimizerConfig
from hpt_core.policy.muon import Muon


def build_optimizers(
    model: nn.Module,
    config: OptimizerConfig,
    *,
    value_head: nn.Module | None = None,
    head_lr: float = 1e-4,
) -> list[Optimizer]:
    """AdamW for all trained parameters; or Muon (Jordan 2024) for the matrices and AdamW for the rest.

    Weight decay applies to matrices only, not to gains and biases. The learning rate of a value head is
    `head_lr`.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tables = _embeddings_and_head(model)
    hidden = {name for name, p in trained.items() if p.ndim == 2 and p not in tables}
    muon = hidden if config.name == "muon" else set()
    groups: list[dict[str, Any]] = [
        {
            "params": [p for name, p in trained.items() if p.ndim >= 2 and name not in muon],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in trained.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    if value_head is not None:
        groups.append({"params": list(value_head.parameters()), "weight_decay": 0.0, "lr": head_lr})
    betas = (config.betas[0], config.betas[1])
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, betas=betas)]
    if muon:
        matrices = [p for name, p in trained.items() if name in muon]
        optimizers.append(Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _embeddings_and_head(model: nn.Module) -> set[nn.Parameter]:
    """Parameters of all embeddings (positions too) and of the LM head, adapters on them included.

    Muon's orthogonal steps suit maps between hidden states, and these are no such maps.
    """
    modules: list[nn.Module] = [
        module for module in model.modules() if isinstance(module, nn.Embedding | LoraEmbedding)
    ]
    if isinstance(model, PreTrainedModel):
        ends = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]
        modules += [end for end in ends if end is not None]
    return {parameter for module in modules for parameter in module.parameters()}


def scale_rates(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times its configured value."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def rate_factor(step: int, steps: int, warmup: int, cooldown: int) -> float:
    """The learning rate's factor at `step` (1 to `steps`): a linear rise, 1, and a linear fall to almost 0.

    It depends on the step alone, so that resuming needs no state.
    """
    return min(1.0, step / max(1, warmup), (steps - step + 1) / max(1, cooldown))
