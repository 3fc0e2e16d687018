"""Checkouts to disturb, and the results of a run that nothing disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import Checkout
from small_disk import Mount, small_disks
from toy_project import clean_environment, make_toy


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project that a bare `dvc repro` has brought up to date."""
    root = make_toy(tmp_path_factory.mktemp("reproduced") / "toy")
    # `python` in dvc.yaml must be that of this environment, for which `hpt` sees.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "-q"]
    subprocess.run(command, cwd=root, env=clean_environment(PATH=path), check=True)
    return root


@pytest.fixture
def checkout(tmp_path: Path, reproduced: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path / "toy", reproduced)
    yield made
    made.end_all()


@pytest.fixture
def undisturbed(reproduced: Path) -> str:
    """The hashes of the outputs of an undisturbed run."""
    return (reproduced / "dvc.lock").read_text()


@pytest.fixture
def mount() -> Iterator[Mount]:
    with small_disks() as mount:
        yield mount
