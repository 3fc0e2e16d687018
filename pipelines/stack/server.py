"""What the stack knows of a server: how it is started and stopped, what it needs, where it answers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.stack.definition import Definition

STACK, SERVER = "HPT_STACK", "HPT_STACK_SERVER"
"""Environment variables of every process of the stack: its folder, and the server it belongs to."""
OWN_VARIABLES = ("PREFECT_", "MLFLOW_", "AWS_", "PG", "WEED_", "HPT_")
"""Prefixes of variables by which the user's settings for clients would change the servers."""
INSTALL = "install it: pip install 'hpt-pipeline[stack]'"


@dataclass(frozen=True)
class Server:
    """One server."""

    name: str
    title: str
    address: str
    command: Callable[[], list[str]]
    """Prepares what the command needs and returns it. Raises InputError."""
    env: Mapping[str, str]
    probe: Callable[[float], str | None]
    """Asks the server that was started at a time; what is wrong with it, or None."""
    needs: tuple[str, ...] = ()
    """Servers that must be healthy before it starts."""
    ports: tuple[int, ...] = ()
    silence_limit: float = 0.0
    """Seconds without an answer after which it is ended and started again, though it runs; 0: never."""
    provision: str | None = None
    """The part of pipelines.stack.provision that makes its databases or buckets each time it has started."""
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    """Seconds between that signal and SIGKILL."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of subprocess.Popen."""


def environment_of(server: Server, definition: Definition) -> dict[str, str]:
    """The environment of a server: the user's, without settings that are meant for clients, and its own.

    The worker runs the user's stages, and keeps all of the user's.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if server.name == "worker" or not name.startswith(OWN_VARIABLES)
    }
    return {**kept, **server.env, STACK: str(definition.folder), SERVER: server.name}
