"""A grading process: it receives batches over a pipe, answers item by item, and ends at an item's time limit.

It is forked by `fork_server`, which has done the imports.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import cast

from hpt_core.errors import InputError, LimitError, VerifierError
from hpt_core.types import Verdict
from hpt_core.verifier import installed, math, reasoning
from hpt_core.verifier.grading import grade

Item = tuple[str, str, str]
"""response, gold, kind"""
Grade = Callable[[str, str, str], Verdict]

MEMORY = 4 << 30
"""Limit of the address space in bytes. It makes a tower of powers an error before the OOM killer acts."""


def grade_batches(fd: int) -> None:
    """Answer the batches that arrive on `fd` until the other end closes.

    The first message is (grade function, timeout_s). Each batch is a list of items; the answer is one
    Verdict per item, in order, each sent as soon as it is known.
    """
    # Ctrl-C sends SIGINT to the whole process group; only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    connection: Connection = Connection(fd)
    try:
        grade_item, timeout_s = cast(tuple[Grade, float], connection.recv())
        while True:
            for item in cast(list[Item], connection.recv()):
                prepare(item[2])
                prepare_package(item[2])
                # The default action of SIGALRM ends the process even within one long big-integer operation,
                # and even after the parent has ended. A package may have set another.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, timeout_s)
                verdict = judge(item, grade_item)
                signal.setitimer(signal.ITIMER_REAL, 0)
                connection.send(verdict)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # The pool was closed.


def judge(item: Item, grade_item: Grade = grade) -> Verdict:
    """The verdict on `item`; an exception becomes the verdict's error, so the batch goes on."""
    try:
        return grade_item(*item)
    except (LimitError, MemoryError, RecursionError) as e:
        reason = str(e) if isinstance(e, LimitError) else f"grading ended in {type(e).__name__}"
        return Verdict(False, None, reason, over_limit=True)
    except (InputError, VerifierError) as e:
        return Verdict(False, None, str(e))
    except Exception as e:
        return Verdict(False, None, f"grading failed with {type(e).__name__}: {str(e)[:200]}")


def family(kind: str) -> str:
    """The representative of all kinds that need the same imports as `kind`."""
    return reasoning.PREFIX if kind.startswith(reasoning.PREFIX) else kind


def prepare(kind: str) -> None:
    """Import what a built-in `kind` needs, and read which packages bring kinds, outside the time limit."""
    if installed.has(kind):
        return
    if kind == "math":
        math.load()
    elif kind.startswith(reasoning.PREFIX):
        reasoning.load()


def prepare_package(kind: str) -> None:
    """Import the package that brings `kind`, if one does, outside the item's time limit but within one.

    The fork server never does it: a package may start threads, and forking a process with threads is unsafe.
    """
    if not installed.has(kind):
        return
    # The item itself gets the error.
    with installed.import_limit(), contextlib.suppress(InputError):
        installed.load(kind)
