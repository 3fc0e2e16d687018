"""The process of a replica: it builds an engine, and serves the trainer until the connection closes."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers.utils import logging as transformers_logging

from hpt_core.child_process import exit_after_parent
from hpt_core.errors import REPORTED_ERRORS, EngineError, one_line
from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import ReportingEngine, RolloutEngine
from hpt_core.rollout.replicas.channel import HOST, LONGEST_WAIT, Channel, ReceivedWeights, forms

Build = Callable[[], tuple[ReportingEngine, LoadedPolicy]]
"""The engine of a replica and a policy of the class and the shapes of the trainer's. It can be pickled."""

SIGN_EVERY = 0.5
"""Least seconds between two signs of life."""


class Start(NamedTuple):
    """The first message to a replica."""

    build: Build
    threads: int
    port: int
    """Of the store at which the members of the channel meet."""
    member: int
    """This replica's number in the channel, from 1."""
    members: int


class SignsOfLife:
    """Tells the trainer from time to time how far the sampling has come.

    The thread that samples does it: another one would go on where the sampling hangs.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.last = connection, time.monotonic()

    def __call__(self, finished: int, asked: int) -> None:
        if time.monotonic() - self.last >= SIGN_EVERY:
            self.connection.send((None, f"sampling {asked} responses, of which {finished} were finished"))
            self.last = time.monotonic()


def serve(fd: int) -> None:
    """Answer the messages that arrive at file descriptor `fd`, each with (whether it succeeded, value).

    (None, what it does) in between is a sign of life.
    """
    exit_after_parent()
    # Ctrl-C sends SIGINT to the whole process group; only the trainer reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for library in ("transformers", "httpx"):
        logging.getLogger(library).setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    connection = Connection(fd)
    try:
        start: Start = connection.recv()
        torch.set_num_threads(start.threads)
        engine, policy = start.build()
        engine.progress = SignsOfLife(connection)
        connection.send((True, forms(policy.model)))
        store = TCPStore(HOST, start.port, start.members, is_master=False, timeout=LONGEST_WAIT)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        channel = Channel(store, start.member, start.members, device)
        while True:
            method, arguments = connection.recv()
            connection.send((True, _answer(method, arguments, engine, policy, channel, connection)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except REPORTED_ERRORS as error:
        connection.send((False, error))
    except Exception as error:
        connection.send((False, EngineError(f"a replica of the sampler failed ({one_line(error, 300)})")))


def _answer(
    method: str,
    arguments: tuple[Any, ...],
    engine: RolloutEngine,
    policy: LoadedPolicy,
    channel: Channel,
    connection: Connection,
) -> Any:
    if method == "generate":
        return engine.generate(*arguments)
    assert method == "load_weights"
    engine.load_weights(ReceivedWeights(policy.model, channel, connection.recv))
    return engine.policy
