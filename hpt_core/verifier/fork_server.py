"""A fork server for grading processes: both the client class and the process itself.

The fork server does the imports once, which take up to two seconds, so that replacing a killed grading
process takes milliseconds. It is started with `python -c`, because children of multiprocessing's own fork
server import the parent's main module, and that of a training run imports torch. It has one thread and never
grades, so forking it is safe.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from hpt_core.errors import VerifierError
from hpt_core.redaction import without_secrets
from hpt_core.verifier import sandbox
from hpt_core.verifier.worker import family, grade_batches, prepare

_START = (
    "import sys; sys.path[:] = {path!r}; from hpt_core.verifier.fork_server import serve; "
    "serve({fd}, {sandboxed})"
)
_MAX_MESSAGE = 4096  # bytes


class ForkServer:
    """Starts and kills grading processes, which all end when the fork server or this process ends."""

    def __init__(self, sandboxed: bool = True) -> None:
        """sandboxed: whether the grading processes give up network, writing and secrets."""
        # What is not there cannot be sent away.
        environment = without_secrets(os.environ) if sandboxed else dict(os.environ)
        self._control, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with remote:
            code = _START.format(path=sys.path, fd=remote.fileno(), sandboxed=sandboxed)
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", code],
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def start(self, kinds: Iterable[str]) -> tuple[Connection, int]:
        """Start a grading process that is ready for answers of `kinds`; return its connection and its pid.

        Raises VerifierError if the fork server has ended.
        """
        connection, remote = Pipe()
        request = pickle.dumps(("start", sorted({family(kind) for kind in kinds})))
        with remote:
            try:
                socket.send_fds(self._control, [request], [remote.fileno()])
                return connection, self._reply()
            except OSError as e:
                connection.close()
                code = self._process.wait()
                raise VerifierError(
                    f"cannot start a grading process: the fork server ended with exit code {code}"
                ) from e

    def exit_code(self, pid: int, kill: bool) -> int | None:
        """Wait for the end of process `pid`, after killing it if `kill`; return its exit code.

        The code is -N after signal N, and None if it is unknown.
        """
        try:
            self._control.send(pickle.dumps(("kill" if kill else "wait", pid)))
            return self._reply()
        except OSError:
            return None  # The fork server has ended; its child ends when the connection is closed.

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _reply(self) -> int:
        reply = self._control.recv(_MAX_MESSAGE)
        if not reply:
            raise ConnectionResetError("the fork server has ended")
        return int(pickle.loads(reply))


def serve(fd: int, sandboxed: bool) -> None:
    """Run the fork server: answer the requests that arrive on socket `fd` until its other end closes."""
    if sandboxed:
        sandbox.missing()  # Loads the C library once, for all processes.
    # Ctrl-C sends SIGINT to the whole process group; only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    while True:
        message, fds, _, _ = socket.recv_fds(control, _MAX_MESSAGE, 1)
        if not message:
            return
        request, subject = pickle.loads(message)
        if request == "kill":
            os.kill(subject, signal.SIGKILL)  # A process that has ended keeps its pid until it is waited for.
        reply = (
            _fork(control, fds[0], subject, sandboxed)
            if request == "start"
            else os.waitstatus_to_exitcode(os.waitpid(subject, 0)[1])
        )
        try:
            control.send(pickle.dumps(reply))
        except BrokenPipeError:
            return


def _fork(control: socket.socket, fd: int, families: list[str], sandboxed: bool) -> int:
    for name in families:
        with contextlib.suppress(Exception):  # The child raises it again for the item that needs it.
            prepare(name)
    # Memory stays shared with the children as long as their garbage collectors do not write to it.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        control.close()
        code = 1
        try:
            if sandboxed:
                sandbox.confine()
            grade_batches(fd)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(fd)
    return pid
