"""The module that a training step trains: the policy and, for PPO, its value head."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from hpt_core.policy.batching import Padded
from hpt_core.policy.logprobs import TokenLogprobs, token_logprobs
from hpt_core.policy.sizes import head_width


class PolicyModule(nn.Module):
    """The policy and PPO's value head, if there is one, behind one forward pass.

    FSDP2 gathers sharded weights only within the forward pass of the module that was sharded. The loss reads
    the LM head's weights outside of the model's own forward pass, so this module around both is sharded.
    """

    def __init__(
        self, model: PreTrainedModel, value_head: nn.Linear | None = None, *, dropout: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.value_head = value_head
        self.dropout = dropout
        """Whether the model's dropout acts in training mode."""

    @classmethod
    def of(cls, model: PreTrainedModel, *, values: bool, dropout: bool = False) -> PolicyModule:
        """The module of `model`; with `values`, its value head starts with the value 0 everywhere."""
        if not values:
            return cls(model, dropout=dropout)
        head = nn.Linear(head_width(model), 1, device=model.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return cls(model, head, dropout=dropout)

    def train(self, mode: bool = True) -> PolicyModule:
        """Training mode. Without `dropout` all that is random stays off: the model is in evaluation mode.

        A model draws random numbers in many forms: dropout modules, rates that its forward pass reads from
        the config, noise of routers, adapters. All of them ask for training mode, so that is what is
        withheld. Layers that recompute their activations keep it, since transformers asks for it there, too
        (`logprobs.checkpoint_layers`).
        """
        super().train(mode and self.dropout)
        self.training = mode
        for module in self.modules() if mode else ():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = module.gradient_checkpointing or self.dropout
        return self

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def layers(self) -> frozenset[str]:
        """Class names of the decoder layers, as transformers declares them; a layer is sharded as a unit."""
        return frozenset(self.model._no_split_modules or ())

    def forward(
        self, batch: Padded, temperature: float, *, entropy_gradient: bool = False, values: bool = False
    ) -> TokenLogprobs:
        """logp, entropy and, with `values`, the value of each response token."""
        head = self.value_head if values else None
        return token_logprobs(
            self.model, batch, temperature, entropy_gradient=entropy_gradient, value_head=head
        )
