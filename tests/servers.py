"""Real servers of tests, on loopback. None outlives the process of its test, however that ends."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from waiting import wait_for

from pipelines.orchestration.process_group import end, kept

START_LIMIT = 400
"""Seconds that a server may take to start on a busy machine; vLLM is the slowest."""
GRACE = 5.0
"""Seconds that a server may take to end by itself."""


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    command: Sequence[str], log: Path, answers: Callable[[], object], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A server that runs during the block, with everything that it starts; the process is its keeper.

    answers: whether it can be used; OSError means that it cannot yet. env: all of its environment.
    """
    with log.open("w") as output:
        process = kept(command, output.fileno(), GRACE, os.environ if env is None else env)

    def end_of_log() -> str:
        return log.read_text(errors="replace")[-4000:]

    try:
        wait_for(lambda: process.poll() is not None or answers(), START_LIMIT, end_of_log)
        assert process.poll() is None, end_of_log()
        yield process
    finally:
        end([process], GRACE)
