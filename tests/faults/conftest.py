"""Checkouts to disturb, and the results of a run that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import Checkout
from small_disk import Mount, small_disks


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
