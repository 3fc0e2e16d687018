"""Files of the user that are neither in git nor under DVC, so that no other clone ever gets them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from pipelines.messages import first_names

FOLDERS = ("raw/data", "raw/models")


def advice(root: Path) -> str | None:
    """Names the files that nobody has added, with the command that does; None where there are none."""
    missing = unversioned(root)
    if not missing:
        return None
    names = first_names([shlex.quote(name) for name in missing], " ")
    return f"neither in git nor in the DVC remote, so that no other clone gets them: dvc add {names}"


def unversioned(root: Path) -> list[str]:
    """Files and folders directly below raw/data and raw/models that neither git nor DVC versions.

    A folder counts as versioned where `dvc add` tracks it, or everything in it is.
    """
    tracked = {str(path.relative_to(root).with_suffix("")) for path in root.glob("raw/**/*.dvc")}
    command = ["git", "ls-files", "-z", "--", *FOLDERS]
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

    return [name for folder in FOLDERS if folder not in tracked for name in missing(root / folder)]
