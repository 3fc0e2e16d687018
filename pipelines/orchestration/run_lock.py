"""One run at a time in a checkout: a lock that the kernel frees when its process ends, however it ends.

The file logs/run.lock stays; whether it is locked is what counts, and its text says whose it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths

LOCK = paths.LOGS / "run.lock"
POLL, PATIENCE = 0.2, 1.0
"""Seconds between two looks at a lock that is taken, and for which even a run that does not wait looks at it:
somebody who only asks for the holder has the lock for an instant."""


@dataclass(frozen=True)
class Holder:
    """The process that runs the flow of a checkout."""

    pid: int
    host: str
    since: str
    """When it took the lock, in ISO 8601 with the offset of its timezone."""
    flow_run: str = ""
    """Id of its flow run, once it has one."""

    def __str__(self) -> str:
        run = f", flow run {self.flow_run}" if self.flow_run else ""
        return f"process {self.pid} on {self.host}, since {self.since}{run}"


class BusyError(InputError):
    """Another process runs the flow of this checkout, and the caller does not want to wait for it."""


WAITING = "waiting for the run of this checkout that is going on: %s"


def once(say: Callable[[str], None], text: str = WAITING) -> Callable[[object], None]:
    """Says `text` once of each holder that is waited for, however often it is called."""
    told: list[object] = []

    def wait(whom: object) -> None:
        if whom not in told:
            say(text % whom)
            told.append(whom)

    return wait


_held: dict[Path, tuple[int, Holder]] = {}
"""The locks of this process: file -> its descriptor and what its text says."""


@contextmanager
def hold(root: Path, flow_run: str = "", waiting: Callable[[Holder], None] | None = None) -> Iterator[None]:
    """Hold the lock of the checkout `root` during the block; inside of another such block only name the run.

    waiting: called again and again with the holder that is waited for. Without it, a taken lock raises
    BusyError.
    """
    path = (root / LOCK).resolve()
    if path in _held:
        descriptor, holder = _held[path]
        _describe(path, descriptor, replace(holder, flow_run=flow_run or holder.flow_run))
        yield
        return
    descriptor = _take(path, waiting)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        _describe(path, descriptor, Holder(os.getpid(), socket.gethostname(), since, flow_run))
        yield
    finally:
        _held.pop(path, None)
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def holder(root: Path) -> Holder | None:
    """The process that runs the flow of the checkout `root` now, this one included; None if none does."""
    path = (root / LOCK).resolve()
    if path in _held:
        return _held[path][1]
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(descriptor) else _read(descriptor)
    finally:
        os.close(descriptor)


def _take(path: Path, waiting: Callable[[Holder], None] | None) -> int:
    """A descriptor that has the lock."""
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + PATIENCE
    try:
        while not _try(descriptor):
            other = _read(descriptor)
            if waiting is not None:
                waiting(other)
            elif time.monotonic() > deadline:
                raise BusyError(f"a run is going on in this checkout: {other}; wait for it or end it first")
            time.sleep(POLL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _describe(path: Path, descriptor: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
    _held[path] = descriptor, holder


def _read(descriptor: int) -> Holder:
    """Whose the lock is. The text is written an instant after the lock is taken."""
    for _ in range(10):
        try:
            holder = Holder(**json.loads(os.pread(descriptor, 4096, 0)))
        except ValueError:
            pass
        else:
            if holder.host != socket.gethostname() or Path(f"/proc/{holder.pid}").exists():
                return holder
        time.sleep(0.05)
    return Holder(0, "an unknown host", "an unknown time")
