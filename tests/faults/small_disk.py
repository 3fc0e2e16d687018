"""File systems so small that a test can fill them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Mount = Callable[[Path, str], None]


def as_root(*command: str) -> int:
    return subprocess.run([*(() if os.geteuid() == 0 else ("sudo", "-n")), *command]).returncode


@contextmanager
def small_disks() -> Iterator[Mount]:
    """A function that mounts a small file system on a folder, or mounts it again with other options."""
    mounted: list[Path] = []

    def on(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        again = "remount," if folder in mounted else f"uid={os.geteuid()},"
        if as_root("mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(folder)) != 0:
            assert not os.environ.get("CI"), "CI may mount"
            pytest.skip("only root can mount a small disk")
        mounted.append(folder)

    try:
        yield on
    finally:
        for folder in set(mounted):
            as_root("umount", "-l", str(folder))


def fill(folder: Path) -> Path:
    """A file that takes all that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast
