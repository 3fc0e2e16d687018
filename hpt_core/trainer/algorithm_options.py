"""Options, schedules and regularisers of the estimator, from the parameters."""

from __future__ import annotations

import math
from typing import Any

from hpt_core.config import MixSchedule, RolloutConfig, TrainConfig
from hpt_core.gate import gate_of
from hpt_core.upge import algorithm
from hpt_core.upge.options import Importance, SequenceMask
from hpt_core.upge.regularise import Regularisers

CHORD_SCHEDULES = {
    "chord": MixSchedule(peak=0.9, valley=0.05, decay_steps=200),
    "chord_phi": MixSchedule(peak=0.1, valley=0.1),
}
"""The schedules of the authors' own runs (arXiv 2508.11408)."""


def options_at(config: TrainConfig, rollout: RolloutConfig, step: int) -> dict[str, Any]:
    """Options of `hpt_core.upge` at `step` (from 1); keys not in params.yaml keep their published value."""
    options: dict[str, Any] = {
        "gate": gate_of(config.gate),
        "length": rollout.max_new_tokens,
        "discount": config.value.discount,
        "gae_lambda": config.value.gae_lambda,
    }
    if config.importance is not None:
        options["importance"] = Importance(**config.importance.model_dump(exclude_none=True))
    if config.clip_ratio_c is not None:
        options["clip_ratio_c"] = config.clip_ratio_c
    if config.sequence_mask is not None:
        options["sequence_mask"] = SequenceMask(**config.sequence_mask.model_dump())
    if config.overlong is not None:
        options["overlong_buffer"] = config.overlong.buffer
        options["overlong_penalty"] = config.overlong.penalty
    if config.clip is not None:
        options["clip"] = (config.clip[0], config.clip[1])
    if config.sft_coefficient is not None:
        options["sft_coefficient"] = config.sft_coefficient
    schedule = config.mu or CHORD_SCHEDULES.get(config.algorithm)
    if schedule is not None:
        options["mu"] = mu(schedule, step)
    return options


def mu(schedule: MixSchedule, step: int) -> float:
    """CHORD's mu at `step` (from 1): a linear rise, then half a cosine, then the constant valley."""
    elapsed, warmup, decay = step - 1, schedule.warmup_steps, schedule.decay_steps
    if elapsed < warmup:
        return schedule.peak * elapsed / warmup
    if elapsed >= warmup + decay:
        return schedule.valley
    fall = (1 + math.cos(math.pi * (elapsed - warmup) / decay)) / 2
    return schedule.valley + (schedule.peak - schedule.valley) * fall


def regularisers_of(config: TrainConfig) -> Regularisers:
    """Coefficients of KL, entropy and, for PPO, value loss."""
    fits_value = "value" in algorithm(config.algorithm).needs
    return Regularisers(
        kl=config.kl.coefficient,
        kl_estimate=config.kl.estimate,
        entropy=config.entropy_coefficient,
        value=config.value.coefficient if fits_value else 0.0,
        value_clip=config.value.clip,
    )
