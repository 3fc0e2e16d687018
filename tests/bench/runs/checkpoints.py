"""The cost of checkpoints in a training run of the embedded recipe, written in the background or not."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.storage.writer import Snapshot, Writer
from pipelines import train
from pipelines.params import Params, load_params
from pipelines.stage.training_data import TrainingFiles
from tests.bench.runs.embedded import changed, ready_to_train
from tests.bench.table import show

STEPS, EVERY = 30, 5
MATRICES, SAVES = 128, 3


class InForeground(Checkpoints):
    """Training waits until a checkpoint is on the disk."""

    def save(self, *arguments: Any, **named: Any) -> None:
        super().save(*arguments, **named)
        self.wait()


KINDS: dict[str, type[Checkpoints]] = {"in the background": Checkpoints, "in the foreground": InForeground}


class Timed(Writer):
    """Adds up the seconds in which checkpoints are written, in whatever thread."""

    seconds = 0.0

    def write(self, snapshot: Snapshot) -> None:
        begin = time.perf_counter()
        super().write(snapshot)
        Timed.seconds += time.perf_counter() - begin


def overhead(_: Path | None) -> None:
    """Measure what training waits for and what is written meanwhile, for each checkpoint and step."""
    of_large_state()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = ready_to_train(root)
        usual = load_params(root / "params.yaml").train.checkpoint_every
        params = changed(root, [f"train.steps={STEPS}", f"train.checkpoint_every={EVERY}"])
        rows = [of_run(name, kind, params, paths, usual) for name, kind in KINDS.items()]
    show(
        f"Checkpoints of the embedded recipe, one every {usual} steps",
        ["written", "a step", "training waits", "writing takes", "waiting, share of run time", "required"],
        rows,
    )


def of_run(name: str, kind: type[Checkpoints], params: Params, paths: TrainingFiles, usual: int) -> list[str]:
    """A row of the table. usual: steps between checkpoints, for the share."""
    Timed.seconds = 0.0
    with patch.object(train, "Checkpoints", kind), patch("hpt_core.trainer.checkpoint.Writer", Timed):
        seconds = dict(train.run(params, "program", paths)["seconds"])
    saves = -(-params.train.steps // params.train.checkpoint_every)
    waits, writes = seconds["checkpoint"] / saves, Timed.seconds / saves
    step = (sum(seconds.values()) - seconds["checkpoint"]) / params.train.steps
    share = waits / (waits + usual * step)
    return [name, f"{step:.2f} s", f"{waits:.4f} s", f"{writes:.4f} s", f"{share:.3%}", "2%"]


def of_large_state() -> None:
    """What a process waits for that does nothing but save 134M parameters with AdamW's moments."""
    module = nn.ParameterList([nn.Parameter(torch.randn(1024, 1024)) for _ in range(MATRICES)])
    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    waits, writes = list[float](), list[float]()
    with tempfile.TemporaryDirectory(dir=".") as folder, Checkpoints(Path(folder), "run") as checkpoints:
        for step in range(1, SAVES + 1):
            begin = time.perf_counter()
            checkpoints.save(step, module, [optimizer], Records())
            waits.append(time.perf_counter() - begin)
            checkpoints.wait()
            writes.append(time.perf_counter() - begin)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
    show(
        f"A checkpoint of {size / 2**30:.1f} GiB, medians of {SAVES}",
        ["written", "training waits"],
        [
            ["in the background", f"{statistics.median(waits):.2f} s"],
            ["in the foreground", f"{statistics.median(writes):.2f} s"],
        ],
    )
