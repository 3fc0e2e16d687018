"""The loaded parts of one training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpt_core.config import RolloutConfig, TrainConfig, served_adapters
from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.rollout.group import Task
from hpt_core.trainer.ranks import ALONE, Ranks


@dataclass(frozen=True)
class TrainContext:
    """Policy, engine, verifier, prompts and parameters of one run."""

    policy: LoadedPolicy
    engine: RolloutEngine
    """It holds weights of its own if those of `policy` are sharded or have adapters."""
    verifier: Verifier
    tasks: Sequence[Task]
    dev: Sequence[Task]
    config: TrainConfig
    rollout: RolloutConfig
    seed: int
    ranks: Ranks = ALONE
    begun: int = 0
    """Steps before the phase that `config` is of."""

    @property
    def serves_adapters(self) -> bool:
        """Whether the engine gets the weights once, and then adapters alone."""
        return served_adapters(self.config, self.rollout) is not None

    @property
    def ranks_per_engine(self) -> int:
        """Ranks whose engines are the parts of one, which they must ask for the same."""
        if self.rollout.placement == "separate":
            return self.ranks.count
        split = self.rollout.engine == "vllm" and self.ranks.count > 1
        return self.rollout.vllm.tensor_parallel if split else 1
