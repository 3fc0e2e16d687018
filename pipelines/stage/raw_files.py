"""raw/: the folders of the user's own files, on which the stages that read them depend.

dvc.yaml cannot list files that params.yaml names, so it lists two folders. A stage reads a file elsewhere as
well, and warns that DVC does not see it change.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hpt_core.data.reading.files.shards import data_files
from hpt_core.errors import InputError

DATA, MODELS = Path("raw/data"), Path("raw/models")

log = logging.getLogger(__name__)


def warn_unseen(stage: str, files: Iterable[str | None]) -> None:
    """Warn of each `file` of a source of `stage` that DVC does not see change: on a server, or outside of
    DATA, itself or one of its shards."""
    for file in files:
        if file and "://" in file:
            log.warning("%s: when it changes, run `dvc repro --force %s`; DVC cannot see it", file, stage)
        elif file:
            warn_outside(DATA, [next((path for path in _shards(file) if _is_outside(path, DATA)), None)])


def warn_outside(folder: Path, paths: Iterable[str | None]) -> None:
    """Warn of each local path outside of `folder`."""
    for path in paths:
        if path and _is_outside(path, folder):
            log.warning(
                "%s is outside of %s, so a change of it re-runs no stage; copy it there (not a link)",
                path,
                folder,
            )


def unversioned(root: Path) -> list[str]:
    """Files and folders directly below raw/data and raw/models that neither git nor DVC versions.

    A folder counts as versioned where `dvc add` tracks it, or everything in it is.
    """
    tracked = {str(path.relative_to(root).with_suffix("")) for path in root.glob("raw/**/*.dvc")}
    command = ["git", "ls-files", "-z", "--", str(DATA), str(MODELS)]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return []
    if listed.returncode != 0:
        return []  # Outside of git nothing is versioned, as `hpt run` says elsewhere.
    tracked |= set(listed.stdout.split("\0"))

    def missing(folder: Path) -> list[str]:
        found: list[str] = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = str(path.relative_to(root))
            if name in tracked or path.suffix == ".dvc" or path.name.startswith("."):
                continue
            inside = any(other.startswith(f"{name}/") for other in tracked)
            found += missing(path) if path.is_dir() and inside else [name]
        return found

    return missing(root / DATA) + missing(root / MODELS)


def _is_outside(path: str, folder: Path) -> bool:
    return Path(path).exists() and not Path(path).resolve().is_relative_to(folder.resolve())


def _shards(file: str) -> list[str]:
    try:
        return [file, *map(str, data_files(file))]
    except InputError:
        return []  # Whoever reads the source raises the error with the name of the source.
