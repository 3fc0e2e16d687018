"""Several processes that train one policy: which of them this is, and what they tell each other.

Started by a launcher (`accelerate launch`, torchrun, or `train.ranks`), each holds a shard of the weights
(FSDP2) and takes a part of every step's work. One process alone needs none of it and pays for none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from accelerate import PartialState  # type: ignore[import-untyped]
from torch.distributed.fsdp import FSDPModule, fully_shard

from hpt_core.policy.module import PolicyModule

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=2)
"""For one rank by another: some sample for long. One that died is noticed by the launcher, at once."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count`; every method but `share` is to be called by all of them in step."""

    index: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this one writes files and reports."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of what all of them hold; the parts in order of rank make the whole."""
        first, last = (len(items) * index // self.count for index in (self.index, self.index + 1))
        return items[first:last]

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks in order of rank, on each of them."""
        if self.count == 1:
            return list(items)
        parts: list[list[T]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def wait(self) -> None:
        """For the slowest."""
        if self.count > 1:
            torch.distributed.barrier()

    def shard(self, policy_module: PolicyModule) -> None:
        """Cut the weights, in place, so that each rank holds its part of every one (FSDP2).

        A layer is put together for as long as it computes. Gradients are summed over ranks, in the type
        of the weights.
        """
        if self.count == 1:
            return
        for module in policy_module.modules():
            if type(module).__name__ in policy_module.layers:
                fully_shard(module)
        # By default a root stays whole after its forward pass, and one without a backward pass (of the
        # sampling policy's values, say) would leave weights behind that the optimizer's step makes stale.
        fully_shard(policy_module, reshard_after_forward=True)
        for module in policy_module.modules():
            if isinstance(module, FSDPModule):
                # The denominators in the plan are those of the whole mini-batch: FSDP2's mean over ranks
                # would divide once more.
                module.set_gradient_divide_factor(1.0)
                # gloo knows no scaled sum, by which FSDP2 applies the factor.
                module.set_force_sum_reduction_for_comms(True)
                # A rank without demonstrations, say, must still meet the others for what they alone train.
                module.set_reduce_scatter_unused_params(True)


ALONE = Ranks()


def launched() -> bool:
    """Whether a launcher started this process."""
    return "RANK" in os.environ


def join() -> Ranks:
    """Meet the other processes of the launcher; `ALONE` where there is none. Takes this process's GPU.

    accelerate knows the launchers and devices. It does not shard here: its FSDP2 (1.15) takes no CPU, and
    it cuts out the LM head on its own, which this trainer reads outside of the head's forward pass.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    return Ranks(state.process_index, state.num_processes)


def leave(ranks: Ranks) -> None:
    """The end of what `join` began; vLLM has groups of its own, and ends them itself."""
    if ranks.count > 1:
        torch.distributed.destroy_process_group()


def deal(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Positions of the rows for each of `count` ranks: longest first, to whoever has fewest tokens yet."""
    dealt: list[list[int]] = [[] for _ in range(count)]
    tokens = [0] * count
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        rank = tokens.index(min(tokens))
        dealt[rank].append(position)
        tokens[rank] += lengths[position]
    return dealt
