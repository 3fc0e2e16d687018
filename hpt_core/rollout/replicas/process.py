"""The process of a replica: it builds an engine, and serves the trainer until the connection closes."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers.utils import logging as transformers_logging

from hpt_core.child_process import exit_after_parent
from hpt_core.errors import REPORTED_ERRORS, EngineError, one_line
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.merged import named_weights
from hpt_core.protocols import ReportingEngine
from hpt_core.rollout.replicas.channel import (
    HOST,
    LOADING,
    LONGEST_WAIT,
    Channel,
    Form,
    ReceivedWeights,
    forms,
)

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
    """Tells the trainer from time to time how far the sampling has come, or a push of weights.

    The thread that works does it: another one would go on where the work hangs.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.last = connection, time.monotonic()

    def __call__(self, finished: int, asked: int) -> None:
        self.say(f"sampling {asked} responses, of which {finished} were finished")

    def say(self, doing: str, *, always: bool = False) -> None:
        """What the replica does, in words; `always`, or where the last sign is SIGN_EVERY ago."""
        if always or time.monotonic() - self.last >= SIGN_EVERY:
            self.connection.send((None, (doing, datetime.now().astimezone())))
            self.last = time.monotonic()


def serve(fd: int) -> None:
    """Answer the messages that arrive at file descriptor `fd`, each with (whether it succeeded, value).

    (None, (what it does, when)) in between is a sign of life.
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
        engine.progress = signs = SignsOfLife(connection)
        connection.send((True, forms(named_weights(policy.model))))
        store = TCPStore(HOST, start.port, start.members, is_master=False, timeout=LONGEST_WAIT)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        channel = Channel(store, start.member, start.members, device)
        while True:
            method, arguments = connection.recv()
            if method == "generate":
                connection.send((True, engine.generate(*arguments)))
                continue
            assert method == "load_weights"
            expected, base = arguments
            weights = _received(policy, channel, expected, base, connection, signs)
            engine.load_weights(weights)
            connection.send((True, engine.policy))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except REPORTED_ERRORS as error:
        connection.send((False, error))
    except Exception as error:
        connection.send((False, EngineError(f"a replica of the sampler failed ({one_line(error, 300)})")))


def _received(
    policy: LoadedPolicy,
    channel: Channel,
    expected: Sequence[Form],
    base: str,
    connection: Connection,
    signs: SignsOfLife,
) -> ReceivedWeights:
    def arrived(number: int) -> None:
        signs.say(f"taking new weights, of which {number} of {len(expected)} tensors had arrived")

    def name() -> str:
        received: str = connection.recv()
        signs.say(LOADING, always=True)
        return received

    return ReceivedWeights(policy.model, channel, expected, base, name, arrived)
