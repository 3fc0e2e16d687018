"""A project of the embedded recipe with one arm, all of whose stages before training are complete."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pipelines import base, curate, experts, rollouts, select, train
from pipelines.params import Params, load_params, recipes
from pipelines.paths import BASE_ROLLOUTS, EXPERTS_FOLDER

ALONE = ["teacher=null", "~arms.teacher", "~arms.mixed"]
"""Overrides that leave one arm, with demonstrations that code writes."""
ROOT = Path(__file__).parents[3]


def changed(root: Path, overrides: Sequence[str]) -> Params:
    """The parameters of the project, which it has from now on."""
    recipes.write(root, "embedded", [*ALONE, *overrides])
    return load_params(root / "params.yaml")


def ready_to_train(root: Path) -> train.TrainingFiles:
    """The files that training of the arm `program` reads, after all stages that make them."""
    shutil.copytree(ROOT / "conf", root / "conf")
    params, paths = changed(root, []), train.TrainingFiles(root)
    curate.run(params, paths.train.parent)
    base.run(params, "base", paths.base, paths.train.parent)
    rollouts.run(params, paths.train, paths.base, root / BASE_ROLLOUTS.parent)
    read = {field.name: root / field.default for field in fields(experts.ExpertInputs)}
    experts.run(params, experts.ExpertInputs(**read), root / EXPERTS_FOLDER)
    select.run(params, "program", root)
    return paths
