"""Starting the processes of one training run on this machine, and ending them together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hpt_core.errors import CheckpointError, EngineError, InputError, TrainingError, VerifierError
from hpt_core.trainer.ranks import Ranks, join, launched, leave

log = logging.getLogger(__name__)

TOLD = InputError | EngineError | TrainingError | VerifierError | CheckpointError
GRACE = 5.0
"""Seconds in which a launcher ends the ranks that are left when one has failed."""


def start(count: int, arguments: Sequence[str], threads: int) -> int:
    """Run `python ARGUMENTS` as `count` ranks and wait; returns 0, or the status of the one that failed.

    Where one fails the others are ended; a signal to this process ends all.

    Raises InputError where the machine has fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise InputError(f"train.ranks is {count}, and this machine has {gpus} GPUs; lower it in params.yaml")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # Its own words on a failure are a page; what it knows is said below in a line.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",  # a host name may not resolve
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            log.error(
                "rank %d of %d was ended by %s; the same command goes on from the newest checkpoint",
                rank,
                count,
                signal.Signals(-failure.exitcode).name,
            )
            return 128 - failure.exitcode
        log.error("rank %d of %d failed; its error stands above", rank, count)
        return int(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


@contextmanager
def member() -> Iterator[Ranks]:
    """The body of a rank, maybe the only one: it ends with its launcher and speaks for its own faults."""
    if launched():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a traceback of each rank would say no more
    ranks = join()
    if not ranks.main:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        yield ranks
    except Exception as error:
        # What the main rank has to tell a user is told at once. Anything else may be the echo of another
        # rank's end (a connection lost) or its double: only whoever failed first lives through the grace.
        told = ranks.main and isinstance(error, TOLD)
        if ranks.count > 1 and not told:
            time.sleep(GRACE)
        raise
    leave(ranks)


def _follow(launcher: int) -> None:
    """End with a launcher that was killed: it could not end its processes, and a second run may start."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)
