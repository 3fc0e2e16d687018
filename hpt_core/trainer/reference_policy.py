"""The starting policy, which a KL is measured from."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor

from hpt_core.policy.batching import Padded
from hpt_core.policy.lora import has_adapters, without_adapters
from hpt_core.policy.module import Learner
from hpt_core.trainer.ranks import Ranks


class Reference:
    """Under adapters it is what they stand on; else a frozen copy, sharded like the policy."""

    def __init__(self, learner: Learner, ranks: Ranks) -> None:
        """Of a learner that is neither trained nor sharded yet."""
        self.adapted = has_adapters(learner.model)
        self.learner = learner
        if not self.adapted:
            self.learner = Learner(copy.deepcopy(learner.model)).requires_grad_(False)
            ranks.shard(self.learner)

    @torch.no_grad()
    def logp(self, batch: Padded, temperature: float) -> Tensor:
        """[B, T]."""
        training = self.learner.training
        self.learner.eval()
        with without_adapters(self.learner.model) if self.adapted else nullcontext():
            logp: Tensor = self.learner(batch, temperature).logp
        self.learner.train(training)
        return logp
