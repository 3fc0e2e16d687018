"""Checkouts to disturb, and the results of a run that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path / "toy")
    yield made
    made.end_all()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hashes of the outputs of an undisturbed run."""
    made = Checkout(tmp_path_factory.mktemp("undisturbed") / "toy")
    status, output = made.hpt("run", "--without-prefect")
    assert status == 0, output
    return made.results()
