"""The cost of checkpoints in a training run of the embedded recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines import train
from pipelines.params import load_params
from tests.bench.runs.embedded import changed, ready_to_train
from tests.bench.table import show

STEPS, EVERY = 30, 5


def overhead(_: Path | None) -> None:
    """Measure the mean seconds of a checkpoint and of a step, and the share of checkpoints in a run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = ready_to_train(root)
        usual = load_params(root / "params.yaml").train.checkpoint_every
        params = changed(root, [f"train.steps={STEPS}", f"train.checkpoint_every={EVERY}"])
        seconds = dict(train.run(params, "program", paths)["seconds"])
    checkpoint = seconds["checkpoint"] / (STEPS // EVERY)
    step = (sum(seconds.values()) - seconds["checkpoint"]) / STEPS
    share = checkpoint / (checkpoint + usual * step)
    show(
        f"Checkpoints of the embedded recipe, one every {usual} steps",
        ["a step", "a checkpoint", "share of run time", "required"],
        [[f"{step:.2f} s", f"{checkpoint:.3f} s", f"{share:.2%}", "2%"]],
    )
