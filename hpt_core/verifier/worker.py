"""A grading process: takes batches from a pipe, answers item by item, and dies rather than hang.

Forked by `fork_server`, which has done its imports.
"""

from __future__ import annotations

import logging
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import cast

from hpt_core.errors import InputError, VerifierError
from hpt_core.types import Verdict
from hpt_core.verifier import reasoning, symbolic
from hpt_core.verifier.grading import grade

Item = tuple[str, str, str]
"""response, gold, kind"""
Grade = Callable[[str, str, str], Verdict]

MEMORY = 4 << 30
"""Bytes of address space: a tower of powers ends in an error of its own, not in the machine's OOM killer."""


def serve(fd: int) -> None:
    """Answer the batches that arrive on `fd` until the other end closes.

    The first message is (grade function, timeout_s). Each batch, a list of items, is answered with one
    Verdict per item, in order, each sent as soon as it is known.
    """
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
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
                # The kernel's default for SIGALRM ends the process even inside one long big-integer
                # operation, and even when the parent is gone.
                signal.setitimer(signal.ITIMER_REAL, timeout_s)
                verdict = judge(item, grade_item)
                signal.setitimer(signal.ITIMER_REAL, 0)
                connection.send(verdict)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the pool closed


def judge(item: Item, grade_item: Grade = grade) -> Verdict:
    """The verdict on `item`; whatever prevents one is its error, never a reward or a lost batch."""
    try:
        return grade_item(*item)
    except (InputError, VerifierError) as e:
        return Verdict(False, None, str(e))
    except Exception as e:
        return Verdict(False, None, f"grading failed with {type(e).__name__}: {str(e)[:200]}")


def family(kind: str) -> str:
    """A kind that needs the same imports as `kind`."""
    return reasoning.PREFIX if kind.startswith(reasoning.PREFIX) else kind


def prepare(kind: str) -> None:
    """Import what `kind` needs, outside the item's time limit."""
    if kind == "math":
        symbolic.load()
    elif kind.startswith(reasoning.PREFIX):
        reasoning.load()
