"""The module that a training step trains: the policy and, for PPO, its value head."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from hpt_core.errors import InputError, one_line
from hpt_core.policy.batching import Padded, TrainingRow, pad
from hpt_core.policy.context_parallel import Context
from hpt_core.policy.logprobs import TokenLogprobs, token_logprobs
from hpt_core.policy.sizes import head_width

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15}
"""By the type of gathered weights: nats by which shared and whole rows may differ in the mean, as in
`rollout.engine_check`. Rounding in float32 is below 1e-5."""


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
        self.context: Context | None = None
        """The ranks that share rows; None: each computes rows of its own."""

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

    @torch.no_grad()
    def check_context(self, gathered: torch.dtype = torch.float32) -> None:
        """Compare a row that ranks share with the same row on each of them; nothing without a context.

        Raises InputError for a model in which something else than attention looks at other tokens.
        """
        context = self.context
        if context is None:
            return
        self.eval()
        row = TrainingRow("", [1], list(range(2, 4 * context.count)), (), 0.0, 0, None)
        batch = pad([row], 0, self.device)
        try:
            shared = self(batch, 1.0).logp
        # What models raise about an argument that they do not know.
        except (TypeError, ValueError, AttributeError) as error:
            raise _refused(self.model, one_line(error, 120)) from error
        self.context = None
        off = float((shared - self(batch, 1.0).logp).abs().mean())
        self.context = context
        if not off <= TOLERANCE[gathered]:
            raise _refused(self.model, f"its log-probabilities are off by {off:.2g} nats")

    def forward(
        self, batch: Padded, temperature: float, *, entropy_gradient: bool = False, values: bool = False
    ) -> TokenLogprobs:
        """logp, entropy and, with `values`, the value of each response token."""
        head = self.value_head if values else None
        return token_logprobs(
            self.model,
            batch,
            temperature,
            entropy_gradient=entropy_gradient,
            value_head=head,
            context=self.context,
        )


def _refused(model: PreTrainedModel, reason: str) -> InputError:
    name = type(model).__name__
    return InputError(f"train.context_parallel: ranks cannot share rows of {name} ({reason}); set it to 1")
