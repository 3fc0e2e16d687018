"""Fixtures of all tests: checks of tensor shapes, the environment, and a server of chat completions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from chat_server import ChatServer, Faults
from shape_checks import checked_shapes


@pytest.fixture(scope="session", autouse=True)
def tensor_shapes_are_checked() -> Iterator[None]:
    """Tensor fields have the dtypes and shapes that they declare; jaxtyping is part of the test extra."""
    with checked_shapes():
        yield


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
