"""raw/: the folders of the user's own files, on which the stages that read them depend.

dvc.yaml cannot list files that params.yaml names, so it lists two folders. A stage reads a file elsewhere as
well, and warns that DVC does not see it change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

DATA, MODELS = Path("raw/data"), Path("raw/models")

log = logging.getLogger(__name__)


def warn_outside(folder: Path, paths: Iterable[str | None]) -> None:
    """Warn of each local path outside of `folder`."""
    for path in paths:
        if path and Path(path).exists() and not Path(path).resolve().is_relative_to(folder.resolve()):
            log.warning(
                "%s is outside of %s, so a change of it re-runs no stage; copy it there (not a link)",
                path,
                folder,
            )
