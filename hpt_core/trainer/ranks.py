"""The processes that train one policy: their number, this one's index, and what they exchange.

A launcher (`accelerate launch`, torchrun, or `train.ranks`) starts them. Each holds a shard of the weights
(FSDP2) and computes a part of every step. A single process needs none of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TypeVar, cast

import torch
import torch.distributed
from accelerate import PartialState  # type: ignore[import-untyped]
from torch.distributed import ProcessGroup

from hpt_core.errors import InputError
from hpt_core.policy.context_parallel import Context

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=2)
"""Time that one rank waits for another, since sampling may take long. The launcher notices an ended rank."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count`. All must call every method but `share` and `span`, in the same order."""

    index: int = 0
    count: int = 1
    group: ProcessGroup | None = None
    """Group of torch.distributed through which they exchange objects; None: that of the launcher."""
    sharing: int = 1
    """Neighbours that compute the same rows, each a slice of their tokens (train.context_parallel)."""

    @property
    def main(self) -> bool:
        """Whether this one writes files and reports."""
        return self.index == 0

    @property
    def counts_rows(self) -> bool:
        """Whether this one adds the sums of its rows; those that share them have the same."""
        return self.index % self.sharing == 0

    @property
    def device(self) -> torch.device:
        """The device on which this rank computes."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of `items`, which all ranks hold; the parts in order of rank are all of them."""
        return items[self.span(len(items))]

    def span(self, count: int, together: int = 1) -> slice:
        """The places of this rank's part of `count` items, and of the parts of the others that it works with
        where each `together` ranks work as one.
        """
        begin = self.index // together * together
        return slice(count * begin // self.count, count * (begin + together) // self.count)

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks in order of rank, on each of them."""
        if self.count == 1:
            return list(items)
        parts: list[list[T]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, list(items), self.group)
        return [item for part in parts for item in part]

    def apart(self, user: str) -> Ranks:
        """The same ranks with a group of `user`'s own, through which another thread may exchange objects.

        The first call must not overlap with another exchange.
        """
        return self if self.count == 1 else replace(self, group=_group_apart(user))

    def sharing_rows(self, sharing: int) -> Ranks:
        """The same ranks, `sharing` of which compute the same rows.

        Raises InputError where it does not divide their number, which a launcher chooses.
        """
        if self.count % sharing:
            raise InputError(
                f"train.context_parallel is {sharing}, and {self.count} process(es) were started; start a "
                "multiple of it, or set it to 1"
            )
        return replace(self, sharing=sharing)

    def context(self) -> Context | None:
        """The ranks that share this one's rows, with a group of their own; None where none does."""
        if self.sharing == 1:
            return None
        groups = [
            torch.distributed.new_group(
                range(first, first + self.sharing), timeout=LONGEST_WAIT, group_desc="context"
            )
            for first in range(0, self.count, self.sharing)
        ]
        return Context(groups[self.index // self.sharing], self.index % self.sharing, self.sharing)

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make` returns on the main rank, on each of them; the others do not call it."""
        if self.count == 1:
            return make()
        made = [make() if self.main else None]
        torch.distributed.broadcast_object_list(made, src=0, group=self.group)
        return cast(T, made[0])


@cache
def _group_apart(user: str) -> ProcessGroup:
    group: ProcessGroup = torch.distributed.new_group(backend="gloo", timeout=LONGEST_WAIT, group_desc=user)
    return group


ALONE = Ranks()


def launched() -> bool:
    """Whether a launcher started this process."""
    return "RANK" in os.environ


def join() -> Ranks:
    """Join the launcher's other processes and take this process's GPU; `ALONE` without a launcher.

    accelerate knows the launchers and devices. It does not shard here, since its FSDP2 (1.15) has no CPU
    support and shards the LM head on its own, which this trainer reads outside of the head's forward pass.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    return Ranks(state.process_index, state.num_processes)


def leave(ranks: Ranks) -> None:
    """Undo `join`. vLLM ends its own process groups itself."""
    if ranks.count > 1:
        torch.distributed.destroy_process_group()


def deal(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Indices of the rows for each of `count` ranks: longest first, to the rank with the fewest tokens."""
    dealt: list[list[int]] = [[] for _ in range(count)]
    tokens = [0] * count
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        rank = tokens.index(min(tokens))
        dealt[rank].append(position)
        tokens[rank] += lengths[position]
    return dealt
