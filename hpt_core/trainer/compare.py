"""Do sampler and trainer mean the same policy? Their kernels and types may differ, their weights must not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from hpt_core.config import TrainConfig
from hpt_core.trainer.batch import Row, pad
from hpt_core.trainer.learner import Learner
from hpt_core.trainer.likelihood import autocast
from hpt_core.upge.regularise import k3

SAMPLE = 256
"""Tokens of a step that are compared, prompts included; at least one rollout is."""


@torch.no_grad()
def compare(
    learner: Learner, rows: Sequence[Row], config: TrainConfig, temperature: float
) -> dict[str, float]:
    """Trainer against sampler on the first rollouts of a step, before its update; nothing without rollouts.

    sampler/difference: mean of |log pi_trainer - log pi_sampler|, in nats. sampler/difference_max: its
    maximum. sampler/kl: KL(sampler || trainer) by k3. Every rank compares the same rows.
    """
    rollouts = [row for row in rows if row.kind is None and row.response]
    if not rollouts:
        return {}
    fit = sum(total <= SAMPLE for total in accumulate(row.length for row in rollouts))
    learner.eval()
    batch = pad(rollouts[: max(1, fit)], 0, learner.device)
    with autocast(learner.device, config.autocast):
        said = learner(batch, temperature)
    difference = (said.logp - batch.logp_sampled.to(said.logp))[batch.mask]
    return {
        "sampler/difference": float(difference.abs().mean()),
        "sampler/difference_max": float(difference.abs().max()),
        "sampler/kl": float(k3(-difference).mean()),
    }
