"""Commands in process groups of their own, so that a command ends together with all of its children.

Killing `dvc` alone would leave the command of its stage running, and a retry would then run it twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipelines.messages import clean

TAIL_LENGTH = 30
"""Number of the last lines of output that a failure repeats."""


class CommandError(RuntimeError):
    """A command ended with a status other than 0."""

    def __init__(self, status: int, tail: Sequence[str]) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.tail = list(tail)


class ProcessGroups:
    """Runs commands, each in its own process group; `close` ends all of them and prevents new ones."""

    def __init__(self, grace: float = 10.0) -> None:
        """grace: seconds between SIGTERM and SIGKILL."""
        self._grace = grace
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def run(
        self,
        command: Sequence[str],
        cwd: Path,
        log: Callable[[str], None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run `command` and pass each line of its output to `log`. Raises CommandError."""
        process = self._start(command, cwd, env)
        tail: deque[str] = deque(maxlen=TAIL_LENGTH)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if text := clean(line.rstrip()):
                    tail.append(text)
                    log(text)
            status = process.wait()
        finally:
            self._end([process])
            with self._lock:
                self._running.discard(process)
        if status != 0:
            raise CommandError(status, tail)

    def close(self) -> None:
        """End every running group: SIGTERM, then SIGKILL after the grace."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        self._end(running)

    def _start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise CommandError(-signal.SIGTERM, ["not started, because the run is being stopped"])
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _end(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        for process in processes:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while any(_running(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in processes:
            if _running(process):
                _signal(process, signal.SIGKILL)


def _running(process: subprocess.Popen[str]) -> bool:
    """Whether any process of the group is running; the leader may have ended before its children."""
    process.poll()
    return _signal(process, 0)


def _signal(process: subprocess.Popen[str], number: int) -> bool:
    """Send signal `number` to the group, 0 for none; returns whether the group still exists."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True
