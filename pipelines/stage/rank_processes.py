"""The processes (ranks) of one training run on this machine: they start and end together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hpt_core.child_process import exit_after_parent
from hpt_core.errors import REPORTED_ERRORS, InputError
from hpt_core.trainer.ranks import Ranks, join, launched, leave

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds within which the launcher ends the other ranks after one has failed."""


def start(count: int, arguments: Sequence[str], threads: int) -> int:
    """Run `python ARGUMENTS` as `count` ranks and wait; returns 0, or the status of the rank that failed.

    When one rank fails, the others are ended. A signal to this process ends all of them.

    Raises InputError where the machine has fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise InputError(f"train.ranks is {count}, and this machine has {gpus} GPUs; lower it in params.yaml")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if not gpus:
        # Ranks without a GPU gather layers in host memory. glibc raises this bound as large blocks are freed,
        # and what is below it comes from a heap that the layers of various sizes leave full of gaps: a rank
        # kept up to 1.7 models more (`python -m tests.bench start`). With 1 MiB, activations of small models
        # are mapped anew in each pass, and a step took 15% longer (`python -m tests.bench ranks`).
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 21))
    # torch logs a page about each failure; the messages below say the same in one line.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # 0: any free port
        local_addr="localhost",  # The host name may not resolve.
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            log.error(
                "rank %d of %d was ended by %s; the same command resumes from the newest checkpoint",
                rank,
                count,
                signal.Signals(-failure.exitcode).name,
            )
            return 128 - failure.exitcode
        log.error("rank %d of %d failed; its error is printed above", rank, count)
        return int(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other ranks for the body of the `with`; a run without a launcher is its only rank."""
    if launched():
        exit_after_parent()  # Killing a launcher does not end its ranks, and a new run may start.
        # The default action prints no traceback; one from each rank would add nothing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    ranks = join()
    if not ranks.main:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        yield ranks
    except Exception as error:
        # The main rank reports errors for the user at once. Any other error may follow from the failure of
        # another rank (a lost connection) or repeat it. The launcher ends such ranks within the grace period,
        # so only the rank that failed first reports.
        reported_at_once = ranks.main and isinstance(error, REPORTED_ERRORS)
        if ranks.count > 1 and not reported_at_once:
            time.sleep(GRACE)
        raise
    leave(ranks)
