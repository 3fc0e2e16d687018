"""raw/: the user's own files, as dependencies of the stages that read them.

dvc.yaml cannot list files that params.yaml names, so it depends on two folders. A file elsewhere is
read all the same; DVC then cannot see it change, and the stage says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

DATA, MODELS = Path("raw/data"), Path("raw/models")

log = logging.getLogger(__name__)


def warn_outside(folder: Path, paths: Iterable[str | None]) -> None:
    """Warn of each local path that does not lie in `folder`."""
    for path in paths:
        if path and Path(path).exists() and not Path(path).resolve().is_relative_to(folder.resolve()):
            log.warning(
                "%s lies outside of %s, so a change of it re-runs nothing; copy it there (no link)",
                path,
                folder,
            )
