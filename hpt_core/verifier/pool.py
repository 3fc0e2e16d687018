"""A pool of grading processes; an item that hangs or crashes its process costs only itself."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from types import TracebackType

from hpt_core.errors import InputError, VerifierError
from hpt_core.types import Verdict
from hpt_core.verifier import sandbox
from hpt_core.verifier.fork_server import ForkServer
from hpt_core.verifier.grading import grade, grade_quickly
from hpt_core.verifier.installed import IMPORT_LIMIT_S, IMPORT_TOOK_TOO_LONG
from hpt_core.verifier.worker import Grade, Item

logger = logging.getLogger(__name__)

BATCH = 64
"""Items per round trip: enough to hide its latency, few enough to share the work evenly."""

LIFETIME = 20_000
"""Items after which a process is replaced: the caches of sympy, which reasoning-gym uses, grow with each."""


class VerifierPool:
    """Grades in `workers` processes, with a limit of `timeout_s` seconds for each item.

    Items that string comparison decides are graded in this process, the others in the grading processes,
    which start when they are first needed and end with the pool or with this process. A verdict with an
    `error` is not a judgement; `over_limit` says whether the response is the cause. `grade_item` is for
    tests; it must be importable by name. `sandboxed`: the grading processes have no network, write no file
    and see no secret, as far as the system can forbid it (`hpt_core.verifier.sandbox`).
    """

    def __init__(
        self, workers: int, timeout_s: float, grade_item: Grade = grade, sandboxed: bool = True
    ) -> None:
        if workers < 1 or timeout_s <= 0:
            raise InputError(f"verifier: workers ({workers}) and timeout_s ({timeout_s}) must be above 0")
        self._workers = workers
        self._timeout_s = timeout_s
        self._patience_s = 2 * timeout_s + IMPORT_LIMIT_S
        self._grade_item = grade_item
        self._sandboxed = sandboxed
        self._fork_server: ForkServer | None = None
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; a later `verify` starts new ones."""
        with self._lock:
            while self._idle:
                self._idle.pop().kill()
            if self._fork_server is not None:
                self._fork_server.close()
                self._fork_server = None

    def verify(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict for each (response, gold, kind), in order."""
        verdicts = [self._grade_without_worker(item) for item in items]
        undecided = deque(i for i, verdict in enumerate(verdicts) if verdict is None)
        if undecided:
            with self._lock:
                self._grade_in_workers(items, undecided, verdicts)
        return [verdict for verdict in verdicts if verdict is not None]

    def _grade_without_worker(self, item: Item) -> Verdict | None:
        """The verdict if string comparison decides it, else None."""
        if self._grade_item is not grade:
            return None
        try:
            return grade_quickly(*item)
        except (InputError, VerifierError) as e:
            return Verdict(False, None, str(e))
        except Exception:
            # A fault of the verifier must not end a training run: the worker's verdict will name it.
            return None

    def _grade_in_workers(
        self, items: Sequence[Item], undecided: deque[int], verdicts: list[Verdict | None]
    ) -> None:
        """Fill in the verdicts at the undecided indices."""
        size = max(1, min(BATCH, -(-len(undecided) // self._workers)))
        busy: dict[Connection, _Worker] = {}
        try:
            while undecided or busy:
                while undecided and len(busy) < self._workers:
                    batch = [undecided.popleft() for _ in range(min(size, len(undecided)))]
                    worker = self._idle.pop() if self._idle else self._start({items[i][2] for i in batch})
                    if worker.send(batch, items):
                        busy[worker.connection] = worker
                    else:  # The worker ended between items, so no item failed.
                        undecided.extendleft(reversed(batch))
                        worker.kill()
                for connection in wait(list(busy), timeout=self._patience_s) or self._kill_silent(busy):
                    worker = busy[connection]  # type: ignore[index]
                    index = worker.pending.popleft()
                    verdict = worker.receive()
                    verdicts[index] = verdict or worker.verdict_at_exit()
                    if verdict is None:
                        undecided.extendleft(reversed(worker.pending))
                    if verdict is None or not worker.pending:
                        del busy[worker.connection]
                    if verdict is not None and not worker.pending:
                        self._retire_or_keep(worker)
        finally:
            # Workers are still busy only after an interrupt; a later call must not receive their answers.
            for worker in busy.values():
                worker.kill()

    def _start(self, kinds: set[str]) -> _Worker:
        if self._fork_server is not None:
            try:
                return _Worker(self._fork_server, kinds, self._grade_item, self._timeout_s)
            except VerifierError:  # The fork server was killed while idle. A new one is tried once.
                self._fork_server.close()
        if self._sandboxed:
            _say_what_is_missing()
        self._fork_server = ForkServer(self._sandboxed)
        return _Worker(self._fork_server, kinds, self._grade_item, self._timeout_s)

    def _kill_silent(self, busy: Mapping[Connection, _Worker]) -> list[Connection]:
        """Kill the processes that should have ended by themselves long ago.

        The function of a package can take away the timer of its process, or
        leave a process behind that keeps the connection open.
        """
        longest = time.monotonic() - self._patience_s
        silent = [worker for worker in busy.values() if worker.heard <= longest]
        for worker in silent:
            worker.silence()
        return [worker.connection for worker in silent]

    def _retire_or_keep(self, worker: _Worker) -> None:
        if worker.graded < LIFETIME:
            self._idle.append(worker)
        else:
            worker.kill()


@lru_cache(maxsize=1)
def _say_what_is_missing() -> None:
    """Once for each process."""
    if missing := sandbox.missing():
        logger.warning(
            "this system cannot forbid %s to the processes that judge responses: SECURITY.md",
            " and ".join(missing),
        )


class _Worker:
    """One grading process and the indices of the items that it has not answered yet."""

    def __init__(self, fork_server: ForkServer, kinds: set[str], grade_item: Grade, timeout_s: float) -> None:
        self.pending: deque[int] = deque()
        self.graded = 0
        self.heard = time.monotonic()
        """When the process last got work or sent a verdict."""
        self._silenced = False
        self._timeout_s = timeout_s
        self._fork_server = fork_server
        self.connection, self._pid = fork_server.start(kinds)
        self._setup: tuple[Grade, float] | None = (grade_item, timeout_s)
        """The first message to the process; None once it was sent."""

    def send(self, batch: list[int], items: Sequence[Item]) -> bool:
        """Send a batch; False if the process has ended between batches.

        One that ended before its first batch counts as one that ends at its first item, so that how fast it
        ends decides nothing: that item has the verdict, and the others another process.
        """
        is_new = self._setup is not None
        try:
            if self._setup is not None:
                self.connection.send(self._setup)
                self._setup = None
            self.connection.send([tuple(items[i]) for i in batch])
        except OSError:
            if not is_new:
                return False
        self.pending.extend(batch)
        self.heard = time.monotonic()
        return True

    def receive(self) -> Verdict | None:
        """The next verdict; None if the process ended while it graded the item."""
        if self._silenced:
            return None
        try:
            verdict = self.connection.recv()
        except (EOFError, OSError):
            return None
        assert isinstance(verdict, Verdict)
        self.graded += 1
        self.heard = time.monotonic()
        return verdict

    def silence(self) -> None:
        """Kill a process that did not end at the time limit."""
        self.kill()
        self._silenced = True

    def verdict_at_exit(self) -> Verdict:
        """The verdict on the item that the process was grading when it ended."""
        code = -signal.SIGALRM if self._silenced else self._exit_code()
        return Verdict(False, None, self._reason(code), over_limit=code == -signal.SIGALRM)

    def _exit_code(self) -> int | None:
        self.connection.close()
        return self._fork_server.exit_code(self._pid, kill=False)

    def _reason(self, code: int | None) -> str:
        if code is None:
            return "the grading processes were killed together; is memory short?"
        if code == -signal.SIGALRM:
            return f"grading took over {self._timeout_s:g} s; raise verifier.timeout_s"
        if code == IMPORT_TOOK_TOO_LONG:
            return f"importing the package of the answer kind took over {IMPORT_LIMIT_S} s"
        if code < 0:
            return f"grading ended in signal {-code} ({signal.strsignal(-code)}); is memory short?"
        return f"the grading process left with exit code {code}"

    def kill(self) -> None:
        self._fork_server.exit_code(self._pid, kill=True)
        self.connection.close()
