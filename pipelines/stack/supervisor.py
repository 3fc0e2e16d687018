"""The process that starts the servers of the stack, and starts again what has ended.

It takes over servers that an earlier supervisor left running, and ends none when it ends: `hpt stack down`
does. `hpt stack up` starts it as `python -m pipelines.stack.supervisor`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import environment, messages
from pipelines.stack import credentials, definition, processes
from pipelines.stack.definition import Definition
from pipelines.stack.processes import Leader, State
from pipelines.stack.server import Server, environment_of
from pipelines.stack.servers import servers

PAUSE = 0.2
"""Seconds between two looks at the servers."""
WATCH_INTERVAL = 20.0
"""Seconds between two questions to a server that has been healthy."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before a server that ended is started again: none at first, then doubled until it is healthy."""


class Supervisor:
    """Starts each server when those that it needs are healthy, and again when it has ended.

    Each server has a thread, so that one which is slow to start keeps no other from being started.
    """

    def __init__(self, stack: Definition, lock: int) -> None:
        """lock: descriptor of the lock that says that the stack is running, which the servers inherit."""
        self.stack, self.lock = stack, lock
        self.servers = servers(stack, credentials.load(stack))
        found = processes.read_state(stack.folder)
        alive = {name: leader for name, leader in found.leaders.items() if leader.alive()}
        self.state = State(leaders=alive, starts=found.starts)
        self.writing = threading.Lock()

    def run(self) -> None:
        """Look after the servers for ever."""
        for server in self.servers.values():
            threading.Thread(target=self._look_after, args=(server,), daemon=True).start()
        while True:
            _reap()
            time.sleep(PAUSE)

    def _look_after(self, server: Server) -> None:
        delay, heard, asked = 0.0, time.monotonic(), 0.0
        while True:
            leader = self.state.leaders.get(server.name)
            if leader is None or not leader.alive():
                if leader is not None:
                    self._note(server, f"has ended, is started again in {delay:.0f} s")
                    time.sleep(delay)
                    delay = min(max(2 * delay, FIRST_DELAY), LONGEST_DELAY)
                self._start(server)
                heard = time.monotonic()
            elif server.name not in self.state.healthy:
                failure = server.probe(leader.started) or self._provision(server)
                self._note(server, failure and f"starting: {failure}")
                delay = delay if failure else 0.0
                heard = time.monotonic()
            elif server.silence_limit and time.monotonic() - asked > WATCH_INTERVAL:
                asked = time.monotonic()
                if self._answers(server):
                    heard = asked
                elif asked - heard > server.silence_limit:
                    self._note(server, f"has not answered for {server.silence_limit:.0f} s, is ended")
                    processes.end(server, processes.processes(self.stack.folder).get(server.name, []), leader)
            time.sleep(PAUSE)

    def _answers(self, server: Server) -> bool:
        """Whether a server that has been healthy answers, or cannot because one that it needs does not."""
        asked = [self.servers[name] for name in server.needs] + [server]
        first = next((one for one in asked if one.probe(self.state.leaders[one.name].started)), None)
        return first is not server

    def _start(self, server: Server) -> None:
        while missing := [need for need in server.needs if need not in self.state.healthy]:
            self._note(server, f"waits for {', '.join(self.servers[need].title for need in missing)}")
            time.sleep(PAUSE)
        if server.ports:
            # What a killed server left behind holds its ports. Flow runs of a killed worker go on.
            left = processes.processes(self.stack.folder).get(server.name, [])
            processes.end(None, left, None)
        try:
            command = server.command()
        except InputError as error:
            self._note(server, str(error), refused=True)
            time.sleep(LONGEST_DELAY)
            return
        with (self.stack.logs / f"{server.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                **{"cwd": self.stack.folder, **server.options},
                env=environment_of(server, self.stack),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.lock],
            )
        self._note(server, "starting", Leader.of(process.pid))

    def _provision(self, server: Server) -> str | None:
        """Make the server's databases or buckets; why that failed, or None."""
        if server.provision is None:
            return None
        command = [sys.executable, "-m", "pipelines.stack.provision", server.provision]
        done = subprocess.run(command, cwd=self.stack.root, capture_output=True, text=True, check=False)
        return done.stderr.strip().splitlines()[-1] if done.returncode else None

    def _note(
        self, server: Server, note: str | None, started: Leader | None = None, refused: bool = False
    ) -> None:
        """Keep what is known of a server: why it is not healthy, or None; its new process."""
        with self.writing:
            state, name = self.state, server.name
            if (
                state.notes.get(name) == note
                and started is None
                and (name in state.healthy) == (note is None)
            ):
                return
            for kept in (state.notes, state.refused):
                kept.pop(name, None)
            state.healthy.discard(name)
            if note is None:
                state.healthy.add(name)
            else:
                (state.refused if refused else state.notes)[name] = note
            if started is not None:
                state.leaders[name] = started
                state.starts[name] = state.starts.get(name, 0) + 1
            state.write(self.stack.folder)
            process = f", process {started.pid}" if started else ""
            print(
                f"{time.strftime('%Y-%m-%d %H:%M:%S')} {server.title}: {note or 'healthy'}{process}",
                flush=True,
            )


def _reap() -> None:
    """Take the exit status of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> int:
    """Run until killed; exit status 0 where another supervisor runs."""
    messages.install()
    stack = definition.load(Path("."))
    stack.logs.mkdir(parents=True, exist_ok=True)
    own = os.open(stack.folder / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    running = os.open(stack.root / environment.STACK_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(running, fcntl.LOCK_SH)
    Supervisor(stack, running).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
