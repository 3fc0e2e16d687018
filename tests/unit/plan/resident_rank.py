"""A rank of a training run that notes the peaks of its resident memory: `resident_rank.py ARM`."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from hpt_core.trainer import rollout_queue
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.sampling import EngineWeights
from hpt_core.trainer.train_state import TrainState
from pipelines import train

MOMENTS = {
    "engine start": [(train, "load_policy"), (train, "training_engine"), (TrainState, "of")],
    "a push of weights": [(EngineWeights, "push")],
    "sampling": [(rollout_queue, "sample_groups")],
    "update": [(TrainState, "learn")],
    "a checkpoint is written": [(Checkpoints, "save")],
    "the model is saved": [(train, "save_policy")],
}
"""Moment of a plan -> the functions in which it is, each with its owner."""
PEAKS = dict.fromkeys(MOMENTS, 0)
"""Bytes that were resident at most."""
BEFORE: list[int] = []
"""Bytes that were resident before the first of these functions."""


def resident(field: str) -> int:
    """VmRSS (resident now) or VmHWM (the peak since the last reset), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def measure(moment: str, owner: Any, name: str) -> None:
    """Replace the function by one that notes the peak of each of its calls."""
    function: Callable[..., Any] = getattr(owner, name)

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        BEFORE.append(resident("VmRSS"))
        # This resets VmHWM (proc(5), clear_refs).
        Path("/proc/self/clear_refs").write_text("5")
        result = function(*arguments, **options)
        PEAKS[moment] = max(PEAKS[moment], resident("VmHWM"))
        return result

    setattr(owner, name, run)


if __name__ == "__main__":
    for of_moment, functions in MOMENTS.items():
        for place, attribute in functions:
            measure(of_moment, place, attribute)
    try:
        train.main()
    finally:
        gc.collect()  # FSDP2's hooks and the modules that they belong to are cycles.
        measured = {"peaks": PEAKS, "before": BEFORE[0], "afterwards": resident("VmRSS")}
        Path(f"memory.{os.environ['RANK']}.json").write_text(json.dumps(measured))
