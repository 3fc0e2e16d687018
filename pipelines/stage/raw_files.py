"""raw/: the folders of the user's own files, on which the stages that read them depend.

dvc.yaml cannot list files that params.yaml names, so it lists two folders. A stage reads a file elsewhere as
well, and warns that DVC does not see it change.
"""

from __future__ import annotations

import logging
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


def _is_outside(path: str, folder: Path) -> bool:
    return Path(path).exists() and not Path(path).resolve().is_relative_to(folder.resolve())


def _shards(file: str) -> list[str]:
    try:
        return [file, *map(str, data_files(file))]
    except InputError:
        return []  # Whoever reads the source raises the error with the name of the source.
