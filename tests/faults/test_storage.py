"""Storage that fails: a full disk, a cache that cannot be written, an object whose bytes have changed.

Each is said in one line, nothing is lost, and the next run gives the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_disk import Mount, fill
from torch import nn

from hpt_core.config import OptimizerConfig
from hpt_core.errors import storage_fault
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.trainer.checkpoint import Checkpoints, Records
from pipelines.orchestration.dvc_stage import reproduce
from pipelines.orchestration.process_group import CommandError, ProcessGroups

pytestmark = pytest.mark.slow


def small_project(root: Path) -> None:
    """One stage, which writes one file."""
    root.mkdir(exist_ok=True)
    (root / "source").write_text("1")
    (root / "dvc.yaml").write_text("stages: {train: {cmd: cp source model, deps: [source], outs: [model]}}")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)


def test_a_full_disk_at_a_checkpoint_leaves_the_one_before(tmp_path: Path, mount: Mount) -> None:
    disk = tmp_path / "disk"
    mount(disk, "size=6m")
    config = OptimizerConfig(lr=0.1)
    module, checkpoints = nn.Linear(256, 256), Checkpoints(disk / "checkpoints", "run")
    optimizers = build_optimizers(module, config)

    def learn() -> None:
        module(torch.ones(256)).sum().backward()
        for optimizer in optimizers:
            optimizer.step()

    learn()
    checkpoints.save(1, module, optimizers, Records())
    checkpoints.wait()
    before = module.weight.detach().clone()
    learn()
    ballast = fill(disk)
    os.truncate(
        ballast, ballast.stat().st_size - 300_000
    )  # There is room for the weights, not for the moments.
    checkpoints.save(2, module, optimizers, Records())
    with pytest.raises(Exception) as error:
        checkpoints.wait()
    assert str(storage_fault(error.value)).startswith("no space is left; make room")
    resumed = nn.Linear(256, 256)
    assert Checkpoints(disk / "checkpoints", "run").resume(resumed, build_optimizers(resumed, config)) == 1
    assert torch.equal(resumed.weight, before)
    ballast.unlink()
    checkpoints.save(2, module, optimizers, Records())
    checkpoints.wait()
    assert Checkpoints(disk / "checkpoints", "run").newest == 2


@pytest.mark.parametrize(
    ("options", "fault"), [("ro", "the file system is read-only"), ("rw", "no space is left")]
)
def test_a_cache_that_takes_nothing_fails_the_stage(
    tmp_path: Path, mount: Mount, options: str, fault: str
) -> None:
    root = tmp_path / "project"
    small_project(root)
    mount(root / ".dvc" / "cache", "size=256k")
    ballast = fill(root / ".dvc" / "cache")
    mount(root / ".dvc" / "cache", options)
    groups = ProcessGroups()
    with pytest.raises(CommandError) as error:
        reproduce("train", root, groups, print, os.environ)
    line = error.value.tail[-1]
    assert line.startswith(f"DVC could not keep what the stage wrote: {fault}; ")
    mount(root / ".dvc" / "cache", "rw")
    ballast.unlink()
    assert reproduce("train", root, groups, print, os.environ) == "done"
    assert (root / "model").read_text() == "1"


def test_a_damaged_object_of_the_cache_is_not_taken_for_the_output(tmp_path: Path) -> None:
    small_project(tmp_path)
    groups, lines = ProcessGroups(), list[str]()
    assert reproduce("train", tmp_path, groups, lines.append, os.environ) == "done"
    [stored] = (tmp_path / ".dvc/cache/files").glob("md5/*/*")
    stored.chmod(0o644)
    stored.write_text("2")
    stored.chmod(0o444)  # DVC trusts what nobody may write.
    (tmp_path / "model").unlink()
    reproduce("train", tmp_path, groups, lines.append, os.environ)
    assert "1 file of DVC's cache was damaged and is removed; train is repeated" in lines
    assert (tmp_path / "model").read_text() == stored.read_text() == "1"
