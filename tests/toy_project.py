"""A toy project for tests with real servers: the project's layout with stages that take no time, in git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPO = Path(__file__).parents[1]
TOY = Path(__file__).parent / "pipeline" / "toy"
IDENTITY = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
SERVICES = ("PREFECT_", "MLFLOW_", "HPT_", "DVC_", "AWS_")
"""Prefixes of variables by which the user's settings would change what a test sees."""


def make_toy(folder: Path) -> Path:
    """The toy project in `folder`, committed."""
    shutil.copytree(TOY, folder, dirs_exist_ok=True)
    (folder / ".dvc").mkdir()
    shutil.copy(REPO / ".dvc" / "config", folder / ".dvc" / "config")
    shutil.copy(REPO / ".gitignore", folder / ".gitignore")
    for command in (["init", "-q"], ["add", "-A"], [*IDENTITY, "commit", "-qm", "toy"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment of a command: this one without the user's settings of services, and `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SERVICES)}
    return {**kept, "PYTHONPATH": str(REPO), **variables}
