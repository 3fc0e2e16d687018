"""The optimizers (AdamW, or Muon on the matrices with AdamW on the rest) and the learning rate schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Embedding as LoraEmbedding
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz
from transformers import PreTrainedModel

from hpt_core.config import OptimizerConfig
from hpt_core.policy.merged_weights import full_tensor


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


class Muon(torch.optim.Muon):
    """torch's Muon, with bitwise the same steps when matrices are sharded.

    Momentum stays sharded; every rank computes the orthogonal step of the full matrix. torch's own class
    would multiply shards in bfloat16 and add the products, which rounds differently for each number of ranks.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if not any(isinstance(p, DTensor) for group in self.param_groups for p in group["params"]):
            super().step()  # type: ignore[no-untyped-call]
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, p.grad, group)

    def _step(self, p: DTensor, grad: DTensor, group: dict[str, Any]) -> None:
        """torch.optim._muon._single_tensor_muon with nesterov, on the gathered gradient."""
        momentum = self.state[p].setdefault("momentum_buffer", torch.zeros_like(grad))
        momentum.lerp_(grad, 1 - group["momentum"])
        direction = _zeropower_via_newtonschulz(
            full_tensor(grad.lerp(momentum, group["momentum"])),
            group["ns_coefficients"],
            group["ns_steps"],
            group["eps"],
        )
        p.mul_(1 - group["lr"] * group["weight_decay"])
        shard = distribute_tensor(direction, p.device_mesh, p.placements, src_data_rank=None)
        p.add_(shard, alpha=-_adjust_lr(group["lr"], group["adjust_lr_fn"], p.shape))


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
