"""The process that grading processes are forked from.

It has done the imports and taught math-verify's parser the usual forms, some two seconds of work, so that
replacing a grading process that was killed costs milliseconds. It is started with `python -c`, not by
multiprocessing's fork server, whose children import the parent's main module: that of a training run
imports torch. It has one thread and never grades, so forking it is safe.
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
from hpt_core.verifier import worker
from hpt_core.verifier.worker import family, prepare

_START = "import sys; sys.path[:] = {path!r}; from hpt_core.verifier.fork_server import serve; serve({fd})"
_LONGEST = 4096  # bytes of a message


class ForkServer:
    """Starts and ends grading processes; all of them end with it or with this process."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _START.format(path=sys.path, fd=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def start(self, kinds: Iterable[str]) -> tuple[Connection, int]:
        """A grading process that is ready for answers of `kinds`: the connection to it and its pid.

        Raises VerifierError if this fork server is gone.
        """
        ours, theirs = Pipe()
        request = pickle.dumps(("start", sorted({family(kind) for kind in kinds})))
        with theirs:
            try:
                socket.send_fds(self._control, [request], [theirs.fileno()])
                return ours, self._reply()
            except OSError as e:
                ours.close()
                code = self._process.wait()
                raise VerifierError(f"no grading process starts: its parent left with code {code}") from e

    def exit_code(self, pid: int, kill: bool) -> int | None:
        """Wait for process `pid`, killed here or dying already; -N after signal N, None if unknown."""
        try:
            self._control.send(pickle.dumps(("kill" if kill else "wait", pid)))
            return self._reply()
        except OSError:
            return None  # the fork server is gone; a process without it ends when its connection closes

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _reply(self) -> int:
        reply = self._control.recv(_LONGEST)
        if not reply:
            raise ConnectionResetError("the fork server is gone")
        return int(pickle.loads(reply))


def serve(fd: int) -> None:
    """The fork server itself: answer the requests that arrive on socket `fd` until its other end closes."""
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    while True:
        message, fds, _, _ = socket.recv_fds(control, _LONGEST, 1)
        if not message:
            return
        request, subject = pickle.loads(message)
        if request == "kill":
            os.kill(subject, signal.SIGKILL)  # if it died already, its pid is kept until it is waited for
        answer = (
            _fork(control, fds[0], subject)
            if request == "start"
            else os.waitstatus_to_exitcode(os.waitpid(subject, 0)[1])
        )
        try:
            control.send(pickle.dumps(answer))
        except BrokenPipeError:
            return


def _fork(control: socket.socket, fd: int, families: list[str]) -> int:
    for name in families:
        with contextlib.suppress(Exception):  # the child meets it again, over the item that needs it
            prepare(name)
    # What stands here is shared with every child, unless its garbage collector writes to it.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        control.close()
        code = 1
        try:
            worker.serve(fd)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(fd)
    return pid
