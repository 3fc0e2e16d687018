"""Demonstrations that a plateau is measured on, and that no step trains on."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.config import TrainConfig
from hpt_core.errors import InputError
from hpt_core.rollout.group import Task
from hpt_core.seeds import derive

MOST = 64
"""Largest number of demonstrations that are held out."""


def hold_out(tasks: Sequence[Task], config: TrainConfig, seed: int) -> tuple[Sequence[Task], list[Task]]:
    """The tasks that are trained on, and those that are held out, drawn by `seed`.

    No task is held out unless a phase ends by the plateau of their NLL. Then a tenth of the prompts with a
    demonstration is, at least one and at most 64. No phase trains on these prompts in any way. Raises
    InputError if fewer than two prompts have a demonstration.
    """
    plateaus = [phase.until.plateau for phase in config.phases or () if phase.until and phase.until.plateau]
    if all(plateau.metric != "nll" for plateau in plateaus):
        return tasks, []
    eligible = [task for task in tasks if task.demonstration]
    if len(eligible) < 2:
        raise InputError(
            f"train.phases: a plateau of the NLL is measured on held-out demonstrations, and {len(eligible)} "
            "training prompts have one; choose plateau: {metric: accuracy}, or a mix with more trajectories"
        )
    shuffled = sorted(eligible, key=lambda task: derive(seed, "held_out", task.prompt.prompt_id))
    held_out = shuffled[: min(MOST, max(1, len(eligible) // 10))]
    names = {task.prompt.prompt_id for task in held_out}
    return [task for task in tasks if task.prompt.prompt_id not in names], held_out
