"""Folders that appear under their names complete, and on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def temporary(target: Path) -> Path:
    """The folder that becomes `target` when it is complete."""
    return target.with_name(f".{target.name}.tmp")


def make_empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def put_in_place(target: Path) -> None:
    """Rename the complete temporary folder of `target`, once its files are on the disk."""
    folder = temporary(target)
    for path in (*folder.iterdir(), folder):
        sync(path)
    # A folder of this name was left by a run that was killed between its records and its weights.
    shutil.rmtree(target, ignore_errors=True)
    os.replace(folder, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
