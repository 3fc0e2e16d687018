"""A real training on one pool and the evaluation of its model on another: the bytes of a local run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pool_checkouts import contents

from pipelines.params import recipes
from tests.pipeline.pools.conftest import REPO, farm_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TINY = [
    *("teacher=null", "~arms.teacher", "~arms.mixed", "train.steps=4", "train.checkpoint_every=2"),
    *("base.warm_start.steps=20", "rollout.max_new_tokens=16", "evaluate.samples=1"),
]
"""The embedded recipe with one arm and few steps."""


def make_project(root: Path) -> None:
    """The files of this project with the tiny recipe, committed; the stages before training are complete."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":(exclude)tests"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, root / name)
    recipes.write(root, "embedded", TINY)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "repro", "-q", "rollouts", "select@program")


def dvc(root: Path, *arguments: str) -> None:
    """A command of DVC, whose stages run the code of the project in `root`."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, env=environment)


def test_training_and_evaluation_on_two_pools(services: Path, tmp_path: Path) -> None:
    root, local = tmp_path / "flow", tmp_path / "local"
    root.mkdir()
    make_project(root)
    shutil.copytree(root, local, symlinks=True)
    dvc(local, "repro", "-q")
    with (root / "params.yaml").open("a") as params:
        params.write("pools: {train: left, evaluate: right}\n")
    with farm_of(root) as farm:
        del farm.environment["PYTHONPATH"]  # `python -m` takes the code of its folder.
        status, output = farm.hpt("deploy")
        assert status == 0, output
        for pool in farm.clones:
            farm.start_worker(pool)
        status, output = farm.hpt("run")
        assert status == 0, output
        assert contents(root) == contents(local)
        assert [run["name"].partition(" ")[0] for run in farm.stage_runs()] == [
            "train@program",
            "evaluate@program",
        ]
        assert (root / "logs/timings/train@program.json").exists(), (
            "the table says how long the training took"
        )
        assert "completed: program" in output, "the worker sent its metrics live"
