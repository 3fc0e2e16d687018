"""`dvc add` of what was taken, so that it is pushed, and a teammate gets it with `dvc pull`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

from pipelines.inbox.arrival import UNVERSIONED, unversioned
from pipelines.inbox.destination import DATA
from pipelines.inbox.s3_errors import InboxError


def add(root: Path, work: Path) -> list[str]:
    """Add the folders below raw/data that have new files to DVC; the .dvc files to commit.

    One .dvc file stands for a whole folder of raw/data, such as raw/data/inbox. Nothing in a project without
    DVC. Raises InboxError where DVC fails; the next poll adds them then.
    """
    paths = unversioned(work)
    if not paths or not (root / ".dvc").is_dir():
        return []
    folders = sorted({str(DATA / PurePosixPath(path).relative_to(DATA).parts[0]) for path in paths})
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "add", "--quiet", *folders]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if finished.returncode != 0:
        lines = finished.stderr.strip().splitlines()
        raise InboxError(
            f"the files are in place, and DVC lacks them: {lines[-1] if lines else 'dvc add failed'}; "
            f"run `dvc add {' '.join(folders)}`"
        )
    (work / UNVERSIONED).unlink()
    return [f"{folder}.dvc" for folder in folders]
