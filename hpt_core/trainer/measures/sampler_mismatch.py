"""Sampler against trainer: the difference of their log-probabilities, and the age of the sampler's weights.

Their kernels and number types may differ, their weights must not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import torch

from hpt_core.config import TrainConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.logprobs import autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.group import Group
from hpt_core.types import Rollout
from hpt_core.upge.regularise import k3

SAMPLE = 256
"""Number of tokens of a step that are compared, prompts included; at least one rollout is compared."""


@torch.no_grad()
def sampler_mismatch(
    policy_module: PolicyModule, rows: Sequence[TrainingRow], config: TrainConfig, temperature: float
) -> dict[str, float]:
    """The mismatch on the first rollouts of a step, before its update; empty without rollouts.

    sampler/difference: mean of |log pi_trainer - log pi_sampler|, in nats. sampler/difference_max: its
    maximum. sampler/kl: KL(sampler || trainer) by k3. Every rank compares the same rows.
    """
    rollouts = [row for row in rows if row.kind is None and row.response]
    if not rollouts:
        return {}
    fit = sum(total <= SAMPLE for total in accumulate(row.length for row in rollouts))
    policy_module.eval()
    batch = pad(rollouts[: max(1, fit)], 0, policy_module.device)
    with autocast(policy_module.device, config.autocast):
        logp = policy_module(batch, temperature).logp
    difference = (logp - batch.logp_sampled.to(logp))[batch.mask]
    return {
        "sampler/difference": float(difference.abs().mean()),
        "sampler/difference_max": float(difference.abs().max()),
        "sampler/kl": float(k3(-difference).mean()),
    }


class WeightVersions:
    """Hashes of the policy's weights before this step and before each of the last `limit` steps."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.names: deque[str] = deque(maxlen=limit + 1)

    def add(self, name: str) -> None:
        self.names.append(name)

    def age(self, groups: Sequence[Group]) -> int:
        """Number of steps between the weights of the oldest rollout and the policy's.

        Raises TrainingError for a rollout of weights older than the limit, or of unknown weights.
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
