"""Whether the machine has room for what a run writes, and lets it write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipelines.params import Params
from pipelines.stage.check import Check

WRITTEN = ("data", "models", "metrics", "reports", "logs", "checkpoints", ".dvc/cache", ".dvc/tmp")
"""Folders that a run writes to, where they are there; else the project's folder is."""
LEAST = 2**30
"""Bytes that a run needs beside the models: the environment of a server, tables, logs."""
COPIES = 2
"""Copies of each model: in models/ and in DVC's cache."""
OPTIMIZER = 5
"""Size of a checkpoint in models: the weights and two moments, these in 32 bits."""


def check_machine(params: Params, root: Path) -> list[Check]:
    """Space on the disk of the project, and access to the folders that stages write to."""
    return [_space(params, root), _access(root)]


def _space(params: Params, root: Path) -> Check:
    free = shutil.disk_usage(root).free
    folder = Path(params.base.model or "")
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if params.base.model else 0
    arms = [name for name in params.arms if not (root / "models" / name).is_dir()]
    needed = LEAST + weights * (COPIES * (len(arms) + 1) + OPTIMIZER) if arms else LEAST
    fault = [
        f"{_gib(free)} are free, and a run needs about {_gib(needed)} ({len(arms)} arms to train, each model "
        "twice, a checkpoint); make room"
    ]
    if free < LEAST // 8:
        return Check("disk", f"{_gib(free)} free", errors=fault)
    return Check("disk", f"{_gib(free)} free", warnings=fault if free < needed else [])


def _access(root: Path) -> Check:
    folders = [root, *(folder for name in WRITTEN if (folder := root / name).exists())]
    closed = [folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    faults = [f"{folder.resolve()} cannot be written; allow writing there" for folder in closed]
    return Check("write access", f"{len(folders) - len(closed)} of {len(folders)} folders", errors=faults)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
