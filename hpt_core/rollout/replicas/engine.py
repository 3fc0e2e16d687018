"""The trainer's side of its replicas: an engine whose work others do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hpt_core.config import Sampling
from hpt_core.errors import EngineError, InputError
from hpt_core.protocols import PassingWeights
from hpt_core.rollout.replicas.channel import HOST, LONGEST_WAIT, Channel, Form, NotArrivedError, forms
from hpt_core.rollout.replicas.process import Build, Start
from hpt_core.rollout.replicas.remote import KEPT, Replica, answers, why_not_arrived
from hpt_core.types import Completion

_OF_A_LAUNCHER = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)


OTHERS_FAIL_WITHIN = 10.0
"""Seconds in which the receives of waiting replicas fail as well, once a send of the trainer has failed."""


class Replicas:
    """Implements `RolloutEngine`: sends weights and prompts to replicas, each of which samples a part.

    Weights travel one by one, and only while no replica samples. One thread at a time may use it.
    """

    def __init__(
        self,
        build: Build,
        count: int,
        threads: int,
        device: torch.device,
        first_gpu: int = 0,
        timeout: float = 1800,
    ) -> None:
        """Start `count` replicas, on GPUs of their own from `first_gpu` on where the machine has GPUs.

        `device` holds the weights that are sent. A replica that gives no sign of life for `timeout` seconds
        is an EngineError; building its engine is one, and sampling gives one with each forward pass.

        Raises what `build` raises there, and InputError where the machine has too few GPUs.
        """
        environments = list(_environments(count, threads, first_gpu))
        self.policy = ""
        self.replicas = [Replica(i + 1, each, timeout) for i, each in enumerate(environments)]
        try:
            store = TCPStore(HOST, 0, count + 1, is_master=True, wait_for_workers=False, timeout=LONGEST_WAIT)
            for replica in self.replicas:
                replica.send(Start(build, threads, store.port, replica.number, count + 1), "starting")
            built: list[list[Form]] = [found for _, found in answers(self.replicas)]
            self.forms = built[0]  # all replicas have the same
            self.channel = Channel(store, 0, count + 1, device)
        except BaseException:
            self.close()
            raise

    def load_weights(self, weights: PassingWeights) -> None:
        """Raises EngineError for a replica that ends, and for one that stands still for `LONGEST_WAIT`."""
        self.policy = ""
        passing: Iterable[tuple[str, Tensor]] = weights
        expected = self.forms
        if weights.base:  # the replicas do not know which layers have adapters
            passing = list(weights)
            expected = forms(passing)
        try:
            self._send(passing, expected, weights)
        except NotArrivedError as error:
            cause = why_not_arrived(self.replicas, OTHERS_FAIL_WITHIN)
            raise cause or EngineError(f"replicas of the sampler: {error}; {KEPT}") from error
        self.policy = weights.name

    def _send(
        self, passing: Iterable[tuple[str, Tensor]], expected: Sequence[Form], weights: PassingWeights
    ) -> None:
        limit = LONGEST_WAIT.total_seconds()
        for replica in self.replicas:
            replica.send(("load_weights", (expected, weights.base)), "taking new weights", limit)
        following = iter(expected)
        for name, tensor in passing:
            form = Form(name, tuple(tensor.shape), tensor.dtype)
            assert form == next(following, None), f"the replicas expect other weights than {form}"
            self.channel.broadcast(tensor.contiguous())
        for replica in self.replicas:
            replica.send(weights.name, replica.doing, limit)
        for _ in answers(self.replicas):
            pass

    def sleep(self) -> None:
        """Do nothing: replicas share no memory with training."""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        parts = [len(prompts) * i // len(self.replicas) for i in range(len(self.replicas) + 1)]
        for replica, first, last in zip(self.replicas, parts[:-1], parts[1:], strict=True):
            message = ("generate", (prompts[first:last], list(seeds[first:last]), sampling))
            replica.send(message, f"sampling {last - first} responses")
        completions: dict[int, list[Completion]] = {}
        for replica, drawn in answers(self.replicas):
            completions[replica.number] = drawn
        return [completion for number in sorted(completions) for completion in completions[number]]

    def close(self) -> None:
        """End the replicas."""
        for replica in self.replicas:
            replica.process.kill()
        for replica in self.replicas:
            replica.process.wait()
            replica.connection.close()


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
