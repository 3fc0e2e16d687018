"""A replica as its trainer sees it: a process, the connection to it, and its signs of life."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from hpt_core.errors import EngineError
from hpt_core.rollout.replicas.channel import LOADING, NotArrivedError

_COMMAND = (
    "import sys; sys.path[:] = {path!r}; from hpt_core.rollout.replicas.process import serve; serve({fd})"
)
KEPT = "the same command goes on from the newest checkpoint"
LOOK_EVERY = 1.0
"""Seconds between two looks at replicas that are waited for."""


class Replica:
    """A process and the connection to it."""

    def __init__(self, number: int, environment: dict[str, str], timeout: float) -> None:
        """timeout: seconds without a sign of life after which it counts as hung."""
        self.number, self.timeout = number, timeout
        self.limit: float | None = None
        self.busy = False
        """Whether an answer is due."""
        self.doing, self.heard, self.silence = "starting", datetime.now().astimezone(), 0.0
        self.connection, remote = Pipe()
        _limit_transfers(self.connection, timeout)
        with remote:
            command = _COMMAND.format(path=sys.path, fd=remote.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", command],
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )

    @property
    def patience(self) -> float:
        """Seconds without a sign of life after which it counts as hung in what it does now."""
        return self.timeout if self.limit is None else self.limit

    def send(self, message: Any, doing: str, limit: float | None = None) -> None:
        """`doing` is what the replica does from now on, in words; `limit` replaces the timeout meanwhile."""
        self.doing, self.limit, self.busy = doing, limit, True
        self.heard, self.silence = datetime.now().astimezone(), 0.0
        try:
            self.connection.send(message)
        except BlockingIOError as error:
            raise self.hung() from error
        except OSError as error:
            raise self.ended() from error

    def receive(self) -> tuple[Any] | None:
        """The next message: an answer as a tuple of one, or None for a sign of life.

        Raises what the replica answered, and EngineError where it ended.
        """
        try:
            succeeded, value = self.connection.recv()
        except BlockingIOError as error:
            raise self.hung() from error
        except (EOFError, OSError) as error:
            raise self.ended() from error
        self.silence = 0.0
        if succeeded is None:
            # It has its own time, since it may be read much later.
            self.doing, self.heard = value
            if self.doing == LOADING:
                self.limit = None  # an engine may pack its weights for longer than a tensor travels
            return None
        self.busy = False
        if not succeeded:
            raise value
        return (value,)

    def ended(self) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        how = "does not answer" if code is None else f"ended with status {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        return EngineError(f"replica {self.number} of the sampler {how}; {KEPT}")

    def hung(self) -> EngineError:
        allowed = f"rollout.replica_timeout_s ({self.timeout:g} s)"
        if self.limit is not None:
            allowed = f"the {self.limit:g} s that a push of weights may stand still"
        return EngineError(
            f"replica {self.number} of the sampler (process {self.process.pid}) hangs: it was {self.doing}, "
            f"and gave no sign of life since {self.heard:%Y-%m-%d %H:%M:%S %Z}, for more than {allowed}; "
            f"{KEPT}"
        )


def answers(replicas: Sequence[Replica]) -> Iterator[tuple[Replica, Any]]:
    """The next answer of each replica, in the order in which they come.

    Raises what a replica answered as soon as it does, and EngineError for one that ended or hangs.
    """
    waiting: dict[Any, Replica] = {replica.connection: replica for replica in replicas}
    while waiting:
        started = time.monotonic()
        for connection in wait(list(waiting), LOOK_EVERY):
            assert isinstance(connection, Connection)
            if (answer := waiting[connection].receive()) is not None:
                yield waiting.pop(connection), *answer
        # A longer pause means that this process itself did not run, as its replicas may not have.
        passed = min(time.monotonic() - started, 2 * LOOK_EVERY)
        for replica in waiting.values():
            replica.silence += passed
            if replica.silence > replica.patience and not replica.connection.poll():
                raise replica.hung()


def why_not_arrived(replicas: Sequence[Replica], seconds: float) -> EngineError | None:
    """Why weights do not go on: what a replica answered, that it ended, or else that it says nothing.

    One that answers that a tensor did not arrive waited for the others. None where all answer that within
    `seconds`.
    """
    silent: dict[Any, Replica] = {replica.connection: replica for replica in replicas if replica.busy}
    until = time.monotonic() + seconds
    while silent and (left := until - time.monotonic()) > 0:
        for connection in wait(list(silent), left):
            assert isinstance(connection, Connection)
            try:
                silent[connection].receive()
            except NotArrivedError:
                del silent[connection]
            except EngineError as error:
                return error
    return min(silent.values(), key=lambda replica: replica.heard).hung() if silent else None


def _limit_transfers(connection: Connection, seconds: float) -> None:
    """A message that is read or written in part, and then stands still, raises BlockingIOError."""
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, direction, limit)
