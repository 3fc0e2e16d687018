"""A toy project for tests with real servers: the project's layout with stages that take no time, in git."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipelines.environment import QUIET

REPO = Path(__file__).parents[1]
TOY = Path(__file__).parent / "pipeline" / "toy"
IDENTITY = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
EMPTY_DATABASE = (
    "from pathlib import Path; from pipelines.tracking.mlflow_store import Store; Store(Path.cwd(), 'toy')"
)
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


def make_reproduced(folder: Path) -> Path:
    """The toy project in `folder`, up to date by a bare `dvc repro`, with an empty MLflow database."""
    make_toy(folder)
    # `python` in dvc.yaml must be that of this environment, for which `hpt` sees.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = clean_environment(**QUIET, PATH=path, DVC_SITE_CACHE_DIR=str(folder.with_name("dvc")))
    for command in (["-m", "dvc", "repro", "-q"], ["-c", EMPTY_DATABASE]):
        subprocess.run([sys.executable, *command], cwd=folder, env=env, check=True)
    return folder


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment of a command: this one without the user's settings of services, and `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SERVICES)}
    return {**kept, "PYTHONPATH": str(REPO), **variables}
