"""Files of the user that are neither in git nor under DVC, so that no other clone ever gets them."""

from __future__ import annotations

import subprocess
from pathlib import Path

FOLDERS = ("raw/data", "raw/models")
NAMED = 5
"""How many of them a sentence names."""


def advice(root: Path) -> str | None:
    """Names the files that nobody has added, with the command that does; None where there are none."""
    missing = not_added(root)
    if not missing:
        return None
    names = " ".join(missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"neither in git nor in the DVC remote, so that no other clone gets them: dvc add {names}{more}"


def not_added(root: Path) -> list[str]:
    """The files, or whole folders, below raw/ that neither git nor DVC has."""
    listed = subprocess.run(["git", "ls-files", "raw"], cwd=root, capture_output=True, text=True)
    in_git = set(listed.stdout.splitlines())
    missing = []
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*")):
            name = path.relative_to(root).as_posix()
            # DVC writes NAME.dvc beside what it holds; a file in git counts for the folder that it is in.
            kept = path.with_name(f"{path.name}.dvc").exists() or (root / f"{folder}.dvc").exists()
            tracked = any(file == name or file.startswith(f"{name}/") for file in in_git)
            nested = path.is_dir() and next(path.rglob("*.dvc"), None) is not None
            own = path.suffix == ".dvc" or path.name in (".gitkeep", ".gitignore")
            if not (own or kept or tracked or nested):
                missing.append(name)
    return missing
