"""The process in which a worker makes its cells: what they held is free once it has ended."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

from hpt_core.child_process import exit_after_parent
from hpt_core.errors import REPORTED_ERRORS, EngineError, InputError, one_line
from pipelines import environment
from pipelines.lab.cells import Cell, Study, code_of_cells

Make = Callable[[Study, Cell], bool]


class CellProcess:
    """Makes one cell after the other in a process of its own, which ends with the block or with this process.

    An engine of vLLM leaves gigabytes behind in its process, so that a cell that samples with it is the last
    one of its process.
    """

    def __init__(self, make: Make) -> None:
        """make: makes a cell, or returns False where another worker does. It can be pickled."""
        self._make = make
        self._process: BaseProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, study: Study, cell: Cell) -> bool:
        """What `make` returns. Raises what it raises, and EngineError if the process ends without a word."""
        if self._process is None:
            self._start()
        assert self._process is not None
        try:
            self._connection.send((study, cell, code_of_cells()))
            value = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            status, self._process = self._process.exitcode, None
            memory = ", mostly for lack of memory: start fewer workers" if status == -signal.SIGKILL else ""
            raise EngineError(
                f"{cell.name}: its process ended with status {status}{memory}; start again, which goes on "
                "from the last checkpoint"
            ) from error
        if isinstance(value, Exception):
            raise value
        if value and cell.tree["rollout"]["engine"] == "vllm":
            self._end()
        return bool(value)

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, remote = spawn.Pipe()
        level = logging.getLogger().getEffectiveLevel()
        arguments = (remote, self._make, level, os.getpid())
        self._process = spawn.Process(target=_serve, args=arguments, name="cells")
        self._process.start()
        remote.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(connection: Connection, make: Make, level: int, worker: int) -> None:
    """Make the cells that arrive, and answer each with what `make` returns or raises.

    `worker` is the parent's pid. It may have been killed during the seconds of imports before this function.
    """
    exit_after_parent(worker)
    # Ctrl-C sends SIGINT to the whole process group; the worker reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    environment.prepare(Path())
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    while True:
        try:
            study, cell, code = connection.recv()
        except EOFError:
            return
        connection.send(_made(make, study, cell, code))


def _made(make: Make, study: Study, cell: Cell, code: str) -> bool | Exception:
    try:
        if code != code_of_cells():
            raise InputError("the code has changed since this worker began; start `hpt lab` again")
        return make(study, cell)
    except (OSError, *REPORTED_ERRORS) as error:
        return error
    # Any other error may have parts that cannot be sent.
    except Exception as error:
        traceback.print_exc()
        return RuntimeError(f"{cell.name}: {one_line(error)}")
