"""The processes of a stack, found by a mark in their environment rather than by files that may be stale.

Every process that a server starts inherits the mark, so that what a killed server leaves behind is found too.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from hpt_core.files import write_json
from pipelines.environment import STACK_STATE
from pipelines.stack.server import SERVER, STACK, Server

SUPERVISOR, FILE = "supervisor", STACK_STATE.name


def processes(folder: Path) -> dict[str, list[psutil.Process]]:
    """Server -> its processes, for the stack whose state is in `folder`."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            ended = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if environment.get(STACK) == str(folder) and not ended:
            found.setdefault(environment.get(SERVER, ""), []).append(process)
    return found


@dataclass(frozen=True)
class Leader:
    """The process of a server that `hpt stack` started."""

    pid: int
    started: float
    """Time of its start in seconds since the epoch: a later process may have the same id."""

    @classmethod
    def of(cls, pid: int) -> Leader:
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return bool(process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass(frozen=True)
class State:
    """What the supervisor knows of the servers, kept in .stack/state.json."""

    leaders: dict[str, Leader] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    notes: dict[str, str] = field(default_factory=dict)
    """Server -> why it is not healthy yet."""
    refused: dict[str, str] = field(default_factory=dict)
    """Server -> why it cannot be started until the user has done something."""
    starts: dict[str, int] = field(default_factory=dict)
    """Server -> how often it was started since the last `hpt stack down`."""

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, {**asdict(self), "healthy": sorted(self.healthy)})


def read_state(folder: Path) -> State:
    """What a supervisor wrote last, which may have been killed since."""
    try:
        found = json.loads((folder / FILE).read_text())
        leaders = {name: Leader(**leader) for name, leader in found["leaders"].items()}
        return State(**{**found, "leaders": leaders, "healthy": set(found["healthy"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Without the file, or with that of another version, the servers are found by their marks alone.
        return State()


def end(server: Server | None, members: Collection[psutil.Process], leader: Leader | None) -> None:
    """End all processes of a server: its leader first, in its own way, at last all of them by SIGKILL."""
    grace = server.grace if server else 5.0
    first = [process for process in members if leader is None or process.pid == leader.pid]
    rest = [process for process in members if process not in first]
    if first and server:
        _signal(first, server.stop_signal)
        deadline = time.monotonic() + grace
        _wait(first, deadline)
        _wait(rest, min(deadline, time.monotonic() + 1))
    if server and server.name == "worker":
        # Flow runs whose worker has ended: they end their stages when they are told to.
        _signal(_running(rest), server.stop_signal)
        _wait(rest, time.monotonic() + grace)
    _signal(_running(members), signal.SIGKILL)
    _wait(members, time.monotonic() + 10)


def _running(members: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in members if _alive(process)]


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(members: Iterable[psutil.Process], number: int) -> None:
    for process in members:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue  # It has ended by itself.


def _wait(members: Collection[psutil.Process], deadline: float) -> None:
    while _running(members) and time.monotonic() < deadline:
        time.sleep(0.05)
