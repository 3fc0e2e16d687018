"""What a step trains, as one module."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from hpt_core.policy.batching import Padded
from hpt_core.policy.logprobs import TokenLogprobs, token_logprobs


class PolicyModule(nn.Module):
    """The policy, and PPO's value head where there is one, behind one forward pass.

    Sharded weights are whole only inside the forward pass of the module that was sharded, and the loss
    reads the LM head's outside of any forward pass of the policy's own: hence this module around both.
    """

    def __init__(self, model: PreTrainedModel, value_head: nn.Linear | None = None) -> None:
        super().__init__()
        self.model = model
        self.value_head = value_head

    @classmethod
    def of(cls, model: PreTrainedModel, *, values: bool) -> PolicyModule:
        """With a value head that says 0 of everything, if `values`."""
        if not values:
            return cls(model)
        head = nn.Linear(model.config.hidden_size, 1, device=model.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return cls(model, head)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def drops_out(self) -> bool:
        """Whether a training forward pass draws random numbers."""
        dropped = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.modules())
        return dropped or getattr(self.model.config, "attention_dropout", 0.0) > 0

    @property
    def layers(self) -> frozenset[str]:
        """Class names of the decoder layers, as transformers declares them: what is sharded in one piece."""
        return frozenset(self.model._no_split_modules or ())

    def forward(
        self, batch: Padded, temperature: float, *, entropy_gradient: bool = False, values: bool = False
    ) -> TokenLogprobs:
        """logp, entropy and, if asked for, values of the response tokens, [B, T] each."""
        head = self.value_head if values else None
        return token_logprobs(
            self.model, batch, temperature, entropy_gradient=entropy_gradient, value_head=head
        )
