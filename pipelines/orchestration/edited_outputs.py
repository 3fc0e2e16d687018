"""Outputs that somebody changed by hand, kept where no stage removes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipelines import paths
from pipelines.orchestration.dag import Stage


def keep_edited(root: Path, stages: Iterable[Stage]) -> dict[Path, Path]:
    """Move outputs that somebody has changed out of the way of DVC, which would remove them.

    Returns where each is now; both relative to the project.
    """
    moved = {}
    for name in (name for stage in stages for name in stage.edited):
        place = paths.EDITED / name
        number = 1
        while (root / place).exists():
            number += 1
            place = paths.EDITED / f"{name}.{number}"
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / name, root / place)
        moved[Path(name)] = place
    return moved
