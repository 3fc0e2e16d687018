"""A toy project: real DVC, real files in the project's layout, stages that take no time."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy_project
from toy_project import REPO, SERVICES

from pipelines import environment


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder and environment variables of the embedded default, apart from the user's, for the session."""
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
        # At exit the server logs to a stream that pytest has closed by then.
        logging.getLogger("prefect").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def make_toy(services: Path) -> Callable[[Path], Path]:
    return toy_project.make_toy


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, make_toy: Callable[[Path], Path]) -> Path:
    """A toy project that `dvc repro` alone brought up to date, with an empty MLflow database."""
    root = make_toy(tmp_path_factory.mktemp("reproduced") / "toy")
    subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True)
    from pipelines.tracking.mlflow_store import Store

    # Creating the database takes longer than any test, so it happens once, here.
    Store(root, "toy")
    return root


@pytest.fixture
def workspace(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `reproduced`, which is also the current folder."""
    root = tmp_path / "toy"
    shutil.copytree(reproduced, root, symlinks=True)
    monkeypatch.chdir(root)
    return root
