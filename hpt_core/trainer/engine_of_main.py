"""One engine for all ranks, which the main rank talks to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hpt_core.config import Sampling
from hpt_core.protocols import PassingWeights, RolloutEngine
from hpt_core.trainer.ranks import Ranks
from hpt_core.types import Completion


class EngineOfMain:
    """Implements `RolloutEngine` on every rank; all must call a method together, with the same arguments."""

    def __init__(self, engine: RolloutEngine | None, ranks: Ranks) -> None:
        """`engine` is None on all ranks but the main one."""
        assert (engine is not None) == ranks.main
        self.engine, self.ranks, self.policy = engine, ranks, ""

    def load_weights(self, weights: PassingWeights) -> None:
        if self.engine is not None:
            self.engine.load_weights(weights)
        else:
            deque(weights, maxlen=0)  # contributes this rank's shards
        self.policy = weights.name

    def sleep(self) -> None:
        if self.engine is not None:
            self.engine.sleep()

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        completions = [] if self.engine is None else self.engine.generate(prompts, seeds, sampling)
        return self.ranks.gather(completions)
