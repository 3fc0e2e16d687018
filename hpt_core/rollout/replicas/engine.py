"""The trainer's side of its replicas: an engine whose work others do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hpt_core.config import Sampling
from hpt_core.errors import EngineError, InputError
from hpt_core.protocols import PassingWeights
from hpt_core.rollout.replicas.channel import HOST, LONGEST_WAIT, Channel, Form
from hpt_core.rollout.replicas.process import Build, Start
from hpt_core.types import Completion

_COMMAND = (
    "import sys; sys.path[:] = {path!r}; from hpt_core.rollout.replicas.process import serve; serve({fd})"
)
_OF_A_LAUNCHER = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
KEPT = "the same command goes on from the newest checkpoint"


class _Replica:
    """A process and the connection to it."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.number = number
        self.connection, remote = Pipe()
        with remote:
            command = _COMMAND.format(path=sys.path, fd=remote.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-c", command],
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )

    def send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise self.ended() from error

    def receive(self) -> Any:
        """The value of the next answer. Raises what the replica answered, and EngineError where it ended."""
        try:
            succeeded, value = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self.ended() from error
        if not succeeded:
            raise value
        return value

    def ended(self) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        how = "does not answer" if code is None else f"ended with status {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        return EngineError(f"replica {self.number} of the sampler {how}; {KEPT}")


class Replicas:
    """Implements `RolloutEngine`: sends weights and prompts to replicas, each of which samples a part.

    Weights travel one by one, and only while no replica samples. One thread at a time may use it.
    """

    def __init__(
        self, build: Build, count: int, threads: int, device: torch.device, first_gpu: int = 0
    ) -> None:
        """Start `count` replicas, on GPUs of their own from `first_gpu` on where the machine has GPUs.

        `device` holds the weights that are sent. Raises what `build` raises there, and InputError where the
        machine has too few GPUs.
        """
        environments = list(_environments(count, threads, first_gpu))
        self.policy = ""
        self.replicas = [_Replica(i + 1, environment) for i, environment in enumerate(environments)]
        try:
            store = TCPStore(HOST, 0, count + 1, is_master=True, wait_for_workers=False, timeout=LONGEST_WAIT)
            for replica in self.replicas:
                replica.send(Start(build, threads, store.port, replica.number, count + 1))
            self.forms: list[Form] = []
            for replica in self.replicas:  # all of which have the same
                self.forms = replica.receive()
            self.channel = Channel(store, 0, count + 1, device)
        except BaseException:
            self.close()
            raise

    def load_weights(self, weights: PassingWeights) -> None:
        self.policy = ""
        for replica in self.replicas:
            replica.send(("load_weights", ()))
        expected = iter(self.forms)
        for name, tensor in weights:
            form = Form(name, tuple(tensor.shape), tensor.dtype)
            assert form == next(expected, None), f"the replicas expect other weights than {form}"
            try:
                self.channel.broadcast(tensor.contiguous())
            except RuntimeError as error:
                raise self._failure(error) from error
        for replica in self.replicas:
            replica.send(weights.name)
        for replica in self.replicas:
            replica.receive()
        self.policy = weights.name

    def sleep(self) -> None:
        """Do nothing: replicas share no memory with training."""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        parts = [len(prompts) * i // len(self.replicas) for i in range(len(self.replicas) + 1)]
        for replica, first, last in zip(self.replicas, parts[:-1], parts[1:], strict=True):
            replica.send(("generate", (prompts[first:last], list(seeds[first:last]), sampling)))
        waiting: dict[Any, _Replica] = {replica.connection: replica for replica in self.replicas}
        completions: dict[int, list[Completion]] = {}
        while waiting:  # in the order of their answers, so that an error of any of them is raised at once
            for connection in wait(list(waiting)):
                replica = waiting.pop(connection)
                completions[replica.number] = replica.receive()
        return [completion for number in sorted(completions) for completion in completions[number]]

    def close(self) -> None:
        """End the replicas."""
        for replica in self.replicas:
            replica.process.kill()
        for replica in self.replicas:
            replica.process.wait()
            replica.connection.close()

    def _failure(self, error: RuntimeError) -> EngineError:
        """Why weights did not arrive."""
        for replica in self.replicas:
            with contextlib.suppress(subprocess.TimeoutExpired):
                replica.process.wait(2)
                return replica.ended()
        return EngineError(f"the weights did not reach the replicas of the sampler ({error}); {KEPT}")


def _environments(count: int, threads: int, first_gpu: int) -> Iterator[dict[str, str]]:
    """Of each replica: without what the trainer's launcher set, and with one GPU."""
    shared = {name: value for name, value in os.environ.items() if name not in _OF_A_LAUNCHER}
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if gpus == [""]:
        gpus = [str(number) for number in range(torch.cuda.device_count())]
    if gpus and len(gpus) < first_gpu + count:
        raise InputError(
            f"train.ranks and rollout.replicas need {first_gpu + count} GPUs, and this machine has "
            f"{len(gpus)}; lower one of them, or set rollout.placement: shared"
        )
    for number in range(count):
        gpu = {"CUDA_VISIBLE_DEVICES": gpus[first_gpu + number]} if gpus else {}
        yield {**shared, **gpu, "OMP_NUM_THREADS": str(threads)}
