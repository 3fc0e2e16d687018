"""The starting policy, from which a KL is measured."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor

from hpt_core.policy.batching import Padded
from hpt_core.policy.lora import has_adapters, without_adapters
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.ranks import Ranks
from hpt_core.trainer.sharding import shard


class Reference:
    """With adapters, the base weights under them; otherwise a frozen copy, sharded like the policy."""

    def __init__(
        self, policy_module: PolicyModule, ranks: Ranks, gathered: torch.dtype = torch.float32
    ) -> None:
        """`policy_module` must be neither trained nor sharded yet; `gathered` is as for `shard`."""
        self.adapted = has_adapters(policy_module.model)
        self.policy_module = policy_module
        if not self.adapted:
            self.policy_module = PolicyModule(copy.deepcopy(policy_module.model)).requires_grad_(False)
            self.policy_module.context = policy_module.context
            shard(self.policy_module, ranks, gathered)

    @torch.no_grad()
    def logp(self, batch: Padded, temperature: float) -> Tensor:
        """log pi_reference of the response tokens, [B, T]."""
        training = self.policy_module.training
        self.policy_module.eval()
        with without_adapters(self.policy_module.model) if self.adapted else nullcontext():
            logp: Tensor = self.policy_module(batch, temperature).logp
        self.policy_module.train(training)
        return logp
