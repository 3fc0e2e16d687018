"""The way of the weights from a trainer to its replicas: a process group of torch.distributed for them alone.

It is apart from the trainer's own group, so that the replicas take no part in what the ranks exchange, and a
trainer without ranks needs no group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers import PreTrainedModel

from hpt_core.errors import EngineError, one_line

HOST = "127.0.0.1"
"""Replicas are on the trainer's machine."""
LONGEST_WAIT = timedelta(seconds=60)
"""Time in which a tensor must arrive, and be taken over; replicas that receive weights do nothing else."""


class NotArrivedError(EngineError):
    """A tensor that did not come, or go, in time. The cause may be any member of the channel."""


class Form(NamedTuple):
    """A tensor without its values."""

    name: str
    shape: Sequence[int]
    dtype: torch.dtype


def forms(weights: Iterable[tuple[str, Tensor]]) -> list[Form]:
    return [Form(name, tuple(tensor.shape), tensor.dtype) for name, tensor in weights]


class Channel:
    """One end of the group; the trainer is its member 0."""

    def __init__(self, store: TCPStore, index: int, size: int, device: torch.device) -> None:
        """`device` holds the tensors. All members must construct theirs at the same time."""
        self.device = device
        self.group: Any
        if device.type == "cuda":
            options = torch.distributed.ProcessGroupNCCL.Options()
            options._timeout = LONGEST_WAIT
            self.group = torch.distributed.ProcessGroupNCCL(store, index, size, options)
        else:
            options = torch.distributed.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
            # The host name may not resolve.
            options._devices = [torch.distributed.ProcessGroupGloo.create_device(hostname=HOST)]
            options._timeout = LONGEST_WAIT
            self.group = torch.distributed.ProcessGroupGloo(store, index, size, options)

    def broadcast(self, tensor: Tensor) -> None:
        """From member 0 into the tensor of every other. Raises NotArrivedError where a member has ended, or
        stands still."""
        options = torch.distributed.BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        try:
            self.group.broadcast([tensor], options).wait()
        except RuntimeError as error:
            raise NotArrivedError(f"a tensor did not arrive ({one_line(error, 300)})") from error


LOADING = "loading the new weights, of which all tensors had arrived"
"""What a replica says that it does once it has the name of new weights."""


class ReceivedWeights:
    """What the trainer sends, as `PassingWeights`."""

    def __init__(
        self,
        model: PreTrainedModel,
        channel: Channel,
        expected: Sequence[Form],
        base: str,
        name: Callable[[], str],
        arrived: Callable[[int], None],
    ) -> None:
        """`model` has the class and the shapes of the trainer's; `name` waits for the weights' name.

        `arrived` is told with each tensor how many there were.
        """
        self.model, self.channel, self.expected, self.base = model, channel, expected, base
        self._receive_name, self._arrived = name, arrived
        self.name = ""

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for number, (name, shape, dtype) in enumerate(self.expected, 1):
            tensor = torch.empty(shape, dtype=dtype, device=self.channel.device)
            self.channel.broadcast(tensor)
            self._arrived(number)
            yield name, tensor
        self.name = self._receive_name()
