"""A toy project: real DVC, real files in the project's layout, stages that take no time."""

from __future__ import annotations

import logging
import os
import shutil
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
def reproduced(services: Path, reproduced: Path) -> Path:
    """The project that is up to date, in the environment of `services`."""
    return reproduced


@pytest.fixture
def workspace(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `reproduced`, which is also the current folder."""
    root = tmp_path / "toy"
    shutil.copytree(reproduced, root, symlinks=True)
    monkeypatch.chdir(root)
    return root
