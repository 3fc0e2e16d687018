"""What checkpoints cost a training run of the embedded recipe."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipelines import base, curate, experts, rollouts, train
from pipelines.params import load_params, recipes
from tests.bench.table import show

STEPS, EVERY = 30, 5
ALONE = ["teacher=null", "~arms.teacher", "~arms.mixed"]
"""One arm, whose demonstrations code writes."""
ROOT = Path(__file__).parents[2]


def overhead(_: Path | None) -> None:
    """Seconds of a checkpoint, the mean of some, beside those of the steps that lie between two."""
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
        ["a step", "a checkpoint", "share of run time", "asked"],
        [[f"{step:.2f} s", f"{checkpoint:.3f} s", f"{share:.2%}", "2%"]],
    )


def _train(root: Path) -> dict[str, float]:
    """Seconds by phase of a run in `root`: prompts, starting policy and experts first."""
    params, paths = load_params(root / "params.yaml"), train.Paths(root)
    prompts, _, trajectories = paths.inputs
    curate.run(params, prompts.parent)
    base.run(params, "base", paths.base, prompts.parent)
    sampled = root / "data/rollouts/base"
    rollouts.run(params, prompts, paths.base, sampled)
    inputs = experts.Inputs(prompts, sampled / "pass_rates.parquet", paths.base)
    experts.run(params, inputs, trajectories.parent)
    return dict(train.run(params, "program", paths)["seconds"])
