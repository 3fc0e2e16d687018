"""The cost of checkpoints in a training run of the embedded recipe."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipelines import base, curate, experts, rollouts, select, train
from pipelines.params import load_params, recipes
from pipelines.paths import EXPERTS
from tests.bench.table import show

STEPS, EVERY = 30, 5
ALONE = ["teacher=null", "~arms.teacher", "~arms.mixed"]
"""Overrides that leave one arm, with demonstrations that code writes."""
ROOT = Path(__file__).parents[2]


def overhead(_: Path | None) -> None:
    """Measure the mean seconds of a checkpoint and of a step, and the share of checkpoints in a run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(ROOT / "conf", root / "conf")
        recipes.write(root, "embedded", ALONE)
        usual = load_params(root / "params.yaml").train.checkpoint_every
        recipes.write(root, "embedded", [*ALONE, f"train.steps={STEPS}", f"train.checkpoint_every={EVERY}"])
        seconds = _train(root)
    checkpoint = seconds["checkpoint"] / (STEPS // EVERY)
    step = (sum(seconds.values()) - seconds["checkpoint"]) / STEPS
    share = checkpoint / (checkpoint + usual * step)
    show(
        f"Checkpoints of the embedded recipe, one every {usual} steps",
        ["a step", "a checkpoint", "share of run time", "required"],
        [[f"{step:.2f} s", f"{checkpoint:.3f} s", f"{share:.2%}", "2%"]],
    )


def _train(root: Path) -> dict[str, float]:
    """Run the stages up to `train` in `root` and return the seconds of its phases."""
    params, paths = load_params(root / "params.yaml"), train.TrainingFiles(root)
    prompts, trajectories = paths.train, root / EXPERTS
    curate.run(params, prompts.parent)
    base.run(params, "base", paths.base, prompts.parent)
    sampled = root / "data/rollouts/base"
    rollouts.run(params, prompts, paths.base, sampled)
    inputs = experts.ExpertInputs(
        prompts, sampled / "pass_rates.parquet", sampled / "rollouts.parquet", paths.base
    )
    experts.run(params, inputs, trajectories.parent)
    select.run(params, "program", root)
    return dict(train.run(params, "program", paths)["seconds"])
