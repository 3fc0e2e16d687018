"""Steps of a run, what each came to, and the threads that run them where Prefect does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hpt_core.errors import one_line, storage_fault
from pipelines.messages import clean

logger = logging.getLogger(__name__)

Log = Callable[..., None]
"""Takes a message and its arguments, as `logging.Logger.info` does."""


@dataclass(frozen=True)
class Outcome:
    """What a step came to."""

    verdict: Literal["done", "restored", "unchanged", "failed", "not run"]
    message: str
    line: str = ""
    """The message for a reader who has seen the output of the step."""
    status: int = 0

    @property
    def good(self) -> bool:
        return self.verdict in ("done", "restored", "unchanged")


def failed(message: str, line: str = "", status: int = 1) -> Outcome:
    """The outcome of a step that failed; status 2 says that its input cannot be used."""
    return Outcome("failed", message, line, status)


@dataclass(frozen=True)
class Step:
    """A stage, or one of what follows the stages."""

    name: str
    desc: str
    upstream: tuple[str, ...]
    act: Callable[[Log], Outcome]

    def run(self, log: Log) -> Outcome:
        """Do it. An exception is a fault of the machine or of this project, and of this step alone."""
        try:
            return self.act(log)
        except Exception as error:
            if fault := storage_fault(error):
                return failed(clean(f"{self.name} failed: {fault}"))
            logger.exception("%s failed", self.name)
            return failed(clean(f"{self.name} failed with {one_line(error)}"))


class Pending(Protocol):
    """A submitted step; futures of Prefect and of Python's threads are of this type."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None: ...


class Executor(Protocol):
    """Runs the steps that it is given, each at once."""

    def submit(self, step: Step, body: Callable[[Log], Outcome], upstream: Sequence[Pending]) -> Pending:
        """Call `body` once, or again if the step is to be retried; all of `upstream` has ended."""
        ...


class Threads:
    """An executor without Prefect."""

    def __init__(self, workers: int, retries: int = 0) -> None:
        self._pool, self._retries = ThreadPoolExecutor(workers), retries

    def submit(
        self, step: Step, body: Callable[[Log], Outcome], upstream: Sequence[Pending]
    ) -> Future[Outcome]:
        return self._pool.submit(self._run, step, body)

    def _run(self, step: Step, body: Callable[[Log], Outcome]) -> Outcome:
        log = logging.getLogger(f"hpt.{step.name}").info
        outcome = body(log)
        for attempt in range(self._retries):
            if outcome.verdict != "failed":
                break
            log("%s; retry %d of %d", outcome.line or outcome.message, attempt + 1, self._retries)
            outcome = body(log)
        return outcome
