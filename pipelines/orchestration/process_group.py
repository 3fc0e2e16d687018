"""Commands that end together with all of their children, and with this process, however it ends.

Killing `dvc` alone would leave the command of its stage running, and a retry would then run it twice. Each
command therefore runs below a keeper (`pipelines.orchestration.keeper`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from pipelines.messages import clean
from pipelines.orchestration import keeper

TAIL_LENGTH = 30
"""Number of the last lines of output that a failure repeats."""
MARGIN = 5.0
"""Seconds that a keeper may take longer than its grace before it is killed itself."""
POLL = 0.2
"""Seconds between two looks at whether a command that prints nothing has ended."""


class CommandError(RuntimeError):
    """A command ended with a status other than 0."""

    def __init__(self, status: int, tail: Sequence[str]) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.tail = list(tail)


def kept(
    command: Sequence[str],
    output: IO[str] | int,
    grace: float,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    """Start `command` below a keeper. Closing the stdin of the returned process ends everything below it."""
    return subprocess.Popen(
        [sys.executable, "-IS", str(keeper.__file__), str(grace), *command],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def end(processes: Sequence[subprocess.Popen[str]], grace: float) -> None:
    """End what `kept` has started: SIGTERM to every process below, SIGKILL after the grace."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    deadline = time.monotonic() + grace + MARGIN
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode < 0:
            # A keeper that was killed itself has ended only its command, not what that had started.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class ProcessGroups:
    """Runs commands; `close` ends all of them, with everything below them, and prevents new ones."""

    def __init__(self, grace: float = 10.0) -> None:
        """grace: seconds between SIGTERM and SIGKILL."""
        self._grace = grace
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closing = threading.Event()

    def closed_within(self, seconds: float) -> bool:
        """Wait so long, or until `close` is called, and say whether it was."""
        return self._closing.wait(seconds)

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
            for line in _lines(process):
                if text := clean(line.rstrip()):
                    tail.append(text)
                    log(text)
            status = process.wait()
        finally:
            end([process], self._grace)
            with self._lock:
                self._running.discard(process)
        if status != 0:
            raise CommandError(status, tail)

    def close(self) -> None:
        """End everything that runs: SIGTERM, then SIGKILL after the grace."""
        with self._lock:
            self._closing.set()
            running = list(self._running)
        end(running, self._grace)

    def _start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._closing.is_set():
                raise CommandError(
                    keeper.KILLED + signal.SIGTERM, ["not started, because the run is being stopped"]
                )
            process = kept(command, subprocess.PIPE, self._grace, {**os.environ, **(env or {})}, cwd)
            self._running.add(process)
            return process


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The output of a process until it ends.

    The output may never end: what a command has started outlives a keeper that was killed if it had left the
    process group, and still has the pipe.
    """
    lines: SimpleQueue[str | None] = SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        ended = process.poll() is not None
        try:
            line = lines.get(timeout=POLL)
        except Empty:
            if ended:
                return
            continue
        if line is None:
            return
        yield line
