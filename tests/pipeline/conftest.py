"""A toy project: real DVC, real files of the contract's layout, stages that take no time."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import environment

REPO = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy"
SERVICES = ("PREFECT_", "MLFLOW_", "HPT_", "DVC_")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Environment of an embedded default of its own, one Prefect server for the whole session."""
    root = tmp_path_factory.mktemp("services")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(SERVICES)]:
            patch.delenv(name)
        for name in environment.QUIET:
            patch.setenv(name, environment.QUIET[name])
        patch.setenv("PREFECT_HOME", str(root / ".prefect"))
        patch.setenv("PYTHONPATH", str(REPO))
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "dvc"))
        patch.setenv("PATH", os.environ["PATH"])
        environment.prepare(root)
        yield root
        # The server's farewell at exit goes to a stream that pytest has closed by then.
        logging.getLogger("prefect").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def make_toy(services: Path) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(TOY, folder, dirs_exist_ok=True)
        (folder / ".dvc").mkdir()
        shutil.copy(REPO / ".dvc" / "config", folder / ".dvc" / "config")
        shutil.copy(REPO / ".gitignore", folder / ".gitignore")
        for command in (["init", "-q"], ["add", "-A"], [*IDENTITY, "commit", "-qm", "toy"]):
            subprocess.run(["git", *command], cwd=folder, check=True)
        return folder

    return make


IDENTITY = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
