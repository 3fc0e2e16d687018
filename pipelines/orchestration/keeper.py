"""Runs a command, and ends it with every process below it when the process that started this one has ended.

    python -IS keeper.py SECONDS COMMAND...

Standard input is the lifeline: a pipe whose other end the starter holds. The kernel closes it when the
starter ends, also by SIGKILL, which no process can pass on. SIGTERM does the same as a closed lifeline: every
process below gets SIGTERM, and SIGKILL after SECONDS. Processes that have left the process group, or whose
parent has ended, are found too, because this process adopts them (PR_SET_CHILD_SUBREAPER of Linux; elsewhere
only the process group is ended).

A script of its own that imports nothing but the standard library, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILLED = 128
"""Exit status of a command that a signal ended: this and the number of the signal, as in shells."""


def main(grace: float, command: list[str]) -> int:
    """Run `command` until it ends or is to be ended; returns its exit status."""
    _control(PR_SET_CHILD_SUBREAPER, 1)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _note)
    # A keeper that is killed can end nothing itself.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent)
    status: int | None = None
    while status is None:
        ready, _, _ = select.select([sys.stdin, wake], [], [])
        signals = os.read(wake, 4096) if wake in ready else b""
        if sys.stdin in ready or set(signals) - {signal.SIGCHLD}:
            break
        status = _reap(child.pid)
    ended = _end(child.pid, grace)
    status = ended if status is None else status
    return KILLED + signal.SIGTERM if status is None else status


def _end(leader: int, grace: float) -> int | None:
    """End every process below this one; returns the exit status of `leader` if it ended only now."""
    status, deadline = None, time.monotonic() + grace
    number: int = signal.SIGTERM
    while processes := _below(leader):
        for process in processes:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue
        # SIGTERM is sent once, SIGKILL as often as a process has just been forked.
        number = 0 if time.monotonic() < deadline else signal.SIGKILL
        time.sleep(0.02)
        status = _reap(leader) if status is None else status
    return status


def _reap(leader: int) -> int | None:
    """Collect every child that has ended; returns the exit status of `leader` if it is one of them."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        if process == leader:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else KILLED - code


def _below(leader: int) -> list[int]:
    """Every process below this one that has not ended."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(os.getpgid(leader), 0)
        except ProcessLookupError:
            return []
        return [leader]
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # It has ended.
            if state != "Z" or int(parent) != os.getpid():
                parents[int(folder.name)] = int(parent)
    found, level = set[int](), {os.getpid()}
    while level := {process for process, parent in parents.items() if parent in level} - found:
        found |= level
    return sorted(found)


def end_with_parent() -> None:
    """In a new process: the kernel kills it when the process that started it has ended (Linux)."""
    _control(PR_SET_PDEATHSIG, signal.SIGKILL)


def _control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _note(number: int, frame: FrameType | None) -> None:
    """A handler that does nothing: the number of the signal arrives through the wakeup descriptor."""


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
