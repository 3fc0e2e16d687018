"""A real stack on free ports: PostgreSQL, S3, MLflow, Prefect and a worker; one for each test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running_stack import Stack, new_stack, remove


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack; a test that stops a server waits until it is back."""
    made = new_stack(tmp_path_factory.mktemp("stack") / "toy")
    try:
        made.hpt("stack", "up")
        yield made
    finally:
        remove(made)
