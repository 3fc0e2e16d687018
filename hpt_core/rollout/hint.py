"""UFT's hints: rollouts continue a part of the demonstration (arXiv 2505.16984)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from hpt_core.config import HintConfig
from hpt_core.rollout.group import Task
from hpt_core.seeds import derive


def hinted(
    tasks: Sequence[Task],
    config: HintConfig,
    step: int,
    seed: int,
    decode: Callable[[Sequence[int]], str],
) -> list[Task]:
    """The tasks with a hint at the end of their tokens; the hint is their demonstration.

    A hint is the first slices of the demonstration. Their number is drawn from a binomial distribution with
    the chance of the step (from 1).
    """
    chance = chance_at(config, step)

    def with_hint(task: Task) -> Task:
        draw = random.Random(derive(seed, "hint", step, task.prompt.prompt_id))
        # The last token ends the turn, after which nothing can be continued.
        response = task.demonstration[:-1]
        slices = min(config.slices, len(response))
        drawn = sum(draw.random() < chance for _ in range(slices))
        hint = response[: round(drawn / slices * len(response))] if slices else []
        return replace(
            task,
            tokens=[*task.tokens, *hint],
            demonstration=hint,
            hint=len(hint),
            opening=decode(hint),
            decode=decode,
        )

    return [with_hint(task) for task in tasks]


def chance_at(config: HintConfig, step: int) -> float:
    """The chance of each slice: half a cosine from high to low over `config.steps`, then 0."""
    if step > config.steps:
        return 0.0
    return config.low + (config.high - config.low) * (1 + math.cos(math.pi * step / config.steps)) / 2
