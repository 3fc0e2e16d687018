"""`hpt stack up`, `down`, `status` and `logs`: what the user does with the servers."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import environment
from pipelines.stack import credentials, definition, processes, provision, remote
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition
from pipelines.stack.errors import StackError
from pipelines.stack.processes import SUPERVISOR, read_state
from pipelines.stack.server import SERVER, STACK, Server
from pipelines.stack.servers import check_installed, servers

LIMIT = 300
"""Seconds that the servers may take to start: a busy machine needs minutes, not 45 s."""
ATTEMPTS = 3
"""Starts of one server after which `up` gives up."""


@dataclass(frozen=True)
class Row:
    """One server, as `hpt stack status` shows it."""

    name: str
    title: str
    address: str
    failure: str | None
    """What is wrong with it; None if it is healthy."""
    pid: int | None
    since: float | None


def up(root: Path, say: Callable[[str], None]) -> list[Row]:
    """Start what does not run, and return when all servers are healthy.

    Raises InputError where a port is taken or a program is missing, StackError where a server does not start.
    """
    stack = definition.load(root)
    with _one_command(stack):
        secrets = credentials.load(stack)
        known = servers(stack, secrets)
        check_installed(stack)
        _check_ports(stack, known)
        credentials.write(stack.root / environment.STACK_CONNECTION, credentials.connection(stack, secrets))
        remote.use_bucket(stack, secrets)
        found = rows(stack)
        if all(row.failure is None for row in found) and _supervised(stack):
            return found
        # A supervisor that waits before its next attempt would make the user wait too.
        processes.end(None, processes.processes(stack.folder).get(SUPERVISOR, []), None)
        replace(read_state(stack.folder), healthy=set(), refused={}).write(stack.folder)
        return _wait(stack, _start_supervisor(stack), say)


def _wait(stack: Definition, supervisor: subprocess.Popen[bytes], say: Callable[[str], None]) -> list[Row]:
    """Wait until every server is healthy, and say so of each."""
    began, said, starts = time.monotonic(), set[str](), read_state(stack.folder).starts
    known = servers(stack, credentials.load(stack))
    while True:
        state = read_state(stack.folder)
        for name in [name for name in known if name in state.healthy and name not in said]:
            said.add(name)
            say(f"{known[name].title:<16} healthy after {time.monotonic() - began:4.1f} s")
        if len(said) == len(known):
            found = rows(stack)
            if all(row.failure is None for row in found):
                return found
        if supervisor.poll() is not None:
            raise StackError(f"the supervisor of the servers ended: see {stack.logs / SUPERVISOR}.log")
        for reason in state.refused.values():
            raise InputError(reason)
        again = {name for name in known if state.starts.get(name, 0) - starts.get(name, 0) > ATTEMPTS}
        if again or time.monotonic() - began > LIMIT:
            name = min(again or set(known) - state.healthy or known)
            why = state.notes.get(name, "it does not answer")
            raise StackError(f"{known[name].title} does not start: {why}; see {stack.logs / name}.log")
        time.sleep(0.3)


def down(root: Path) -> int:
    """End every process of the stack, return how many servers ran. Raises StackError where one goes on."""
    stack = definition.load(root)
    if not stack.folder.exists():
        return 0
    with _one_command(stack):
        found, leaders = processes.processes(stack.folder), read_state(stack.folder).leaders
        processes.end(None, found.pop(SUPERVISOR, []), None)
        known = servers(stack, credentials.load(stack))
        # Each server ends before those that it needs.
        for name in reversed(known):
            processes.end(known[name], found.get(name, []), leaders.get(name))
        for members in processes.processes(stack.folder).values():
            processes.end(None, members, None)
        if left := processes.processes(stack.folder):
            pids = " ".join(str(process.pid) for members in left.values() for process in members)
            raise StackError(f"still running: {', '.join(left)}; end them with: kill -9 {pids}")
        (stack.folder / processes.FILE).unlink(missing_ok=True)
        remote.leave_bucket(stack.root)
        return len(found)


def rotate(root: Path, say: Callable[[str], None]) -> list[Row]:
    """Give every server new passwords and keys, and start the servers again with them.

    Raises InputError where the stack is not healthy.
    """
    stack, secrets = require_healthy(root)
    with _one_command(stack):
        path = stack.folder / "secrets.env"
        new = credentials.fresh()
        # PostgreSQL has to be told by whoever knows the present one; the others read theirs at their start.
        credentials.write(path.with_name("secrets.env.new"), new)
        provision.set_owner_password(stack, secrets, new["HPT_POSTGRES_PASSWORD"])
        path.with_name("secrets.env.new").replace(path)
    down(root)
    return up(root, say)


def require_healthy(root: Path) -> tuple[Definition, Secrets]:
    """The definition and secrets of a stack whose servers are all healthy. Raises InputError for another."""
    stack = definition.load(root)
    if not environment.stack_runs(root):
        raise InputError("the stack is not running; start it first: hpt stack up")
    if ill := [f"{row.title}: {row.failure}" for row in rows(stack) if row.failure is not None]:
        raise InputError(f"the stack is not healthy ({'; '.join(ill)}); first: hpt stack up")
    return stack, credentials.load(stack)


@contextmanager
def paused(stack: Definition, names: tuple[str, ...]) -> Iterator[None]:
    """Stop the servers `names`, and start them again when the block ends, however it ends."""
    with _one_command(stack):
        known, leaders = servers(stack, credentials.load(stack)), read_state(stack.folder).leaders
        found = processes.processes(stack.folder)
        processes.end(None, found.get(SUPERVISOR, []), None)
        for name in names:
            processes.end(known[name], found.get(name, []), leaders.get(name))
        try:
            yield
        finally:
            replace(read_state(stack.folder), healthy=set(), refused={}).write(stack.folder)
            _wait(stack, _start_supervisor(stack), lambda line: None)


def rows(stack: Definition) -> list[Row]:
    """Each server with its health, all asked at the same time."""
    known = list(servers(stack, credentials.load(stack)).values())
    leaders = read_state(stack.folder).leaders

    def row(server: Server) -> Row:
        leader = leaders.get(server.name)
        if leader is None or not leader.alive():
            # Whatever answers on its port is not the server.
            return Row(server.name, server.title, server.address, "not running", None, None)
        failure = server.probe(leader.started)
        return Row(server.name, server.title, server.address, failure, leader.pid, leader.started)

    with ThreadPoolExecutor(len(known)) as pool:
        return list(pool.map(row, known))


def log_files(root: Path, name: str | None) -> list[Path]:
    """The log of the server `name`, or of all. Raises InputError for a name that no server has."""
    stack = definition.load(root)
    names = [*servers(stack, credentials.load(stack)), SUPERVISOR]
    if name is not None and name not in names:
        raise InputError(f"no server is called {name!r}; give one of {', '.join(names)}")
    return [path for each in names if name in (None, each) and (path := stack.logs / f"{each}.log").exists()]


@contextmanager
def _one_command(stack: Definition) -> Iterator[None]:
    """Keep two commands from starting and ending servers at the same time: the second waits."""
    stack.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (stack.folder / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _supervised(stack: Definition) -> bool:
    """Whether a supervisor looks after the servers."""
    return SUPERVISOR in processes.processes(stack.folder)


def _start_supervisor(stack: Definition) -> subprocess.Popen[bytes]:
    """Start a supervisor; it ends at once, with status 0, where one runs already."""
    with (stack.logs / f"{SUPERVISOR}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.stack.supervisor"],
            cwd=stack.root,
            env={**os.environ, STACK: str(stack.folder), SERVER: SUPERVISOR},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _check_ports(stack: Definition, known: dict[str, Server]) -> None:
    """Raise InputError where another program has a port of a server that is to be started."""
    ours = processes.processes(stack.folder)
    for server in known.values():
        for port in () if server.name in ours else server.ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((stack["HPT_HOST"], port))
                except OSError as error:
                    raise InputError(
                        f"{server.title} cannot have port {port} of {stack['HPT_HOST']} ({error.strerror}): "
                        f"end the program that has it, or give another port in {definition.FILE}"
                    ) from error
