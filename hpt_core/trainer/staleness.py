"""Which weights a step's rollouts come from, and how far these lie back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hpt_core.errors import TrainingError
from hpt_core.rollout.group import Group
from hpt_core.types import Rollout


class Versions:
    """Names of the policy's weights before this step and before the `limit` steps that went ahead of it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: deque[str] = deque(maxlen=limit + 1)

    def add(self, name: str) -> None:
        self.names.append(name)

    def age(self, groups: Sequence[Group]) -> int:
        """Steps between the oldest rollout's weights and the policy's.

        Raises TrainingError for a rollout of weights that are older than the limit, or that the policy
        never had.
        """
        newest_first = list(reversed(self.names))
        return max((self._age(rollout, newest_first) for g in groups for rollout in g.rollouts), default=0)

    def _age(self, rollout: Rollout, newest_first: Sequence[str]) -> int:
        if rollout.policy not in newest_first:
            raise TrainingError(
                f"prompt {rollout.prompt_id}: a rollout comes from weights {rollout.policy or '(none)'}, and "
                f"this step's are {newest_first[0]}; train.max_staleness allows {self.limit} steps between "
                "them. Raise it for an engine that lags; any other did not take the weights over"
            )
        return newest_first.index(rollout.policy)
