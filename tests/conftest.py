"""Fixtures of all tests: checks of tensor shapes, the environment, and a server of chat completions."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer, Faults
from shape_checks import checked_shapes
from toy_project import make_reproduced


@pytest.fixture(scope="session", autouse=True)
def tensor_shapes_are_checked() -> Iterator[None]:
    """Tensor fields have the dtypes and shapes that they declare; jaxtyping is part of the test extra."""
    with checked_shapes():
        yield


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A toy project that is up to date, made once for all processes of the tests, which only copy it."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent  # the processes have folders of their own in that of the run
    root, complete = folder / "reproduced" / "toy", folder / "reproduced" / "complete"
    root.parent.mkdir(exist_ok=True)
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)  # the maker before has failed
            make_reproduced(root)
            complete.touch()
    return root


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Environment variables that the test sets, also by code that it calls, are gone after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def faults() -> type[Faults]:
    return Faults


@pytest.fixture
def start_server() -> Iterator[Callable[[], ChatServer]]:
    servers: list[ChatServer] = []

    def start() -> ChatServer:
        servers.append(ChatServer())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[[], ChatServer]) -> ChatServer:
    return start_server()
