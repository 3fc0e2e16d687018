"""Peak of a sharded update, by torch's own tracker and without memory: `python fsdp_peak.py FOLDER ...`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoConfig, AutoModelForCausalLM

from hpt_core.policy import lm_head
from hpt_core.policy.batching import Padded
from hpt_core.policy.logprobs import autocast, checkpoint_layers
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.ranks import Ranks
from hpt_core.trainer.sharding import shard


@dataclass(frozen=True)
class Full(Padded):
    """Rows of response tokens alone but the first, so that their places do not depend on data."""

    @property
    def tokens(self) -> tuple[Tensor, Tensor, Tensor]:
        rows, length = self.mask.shape
        row, position = torch.arange(rows).repeat_interleave(length), torch.arange(length).repeat(rows)
        return row, position, position + 1


def peak(
    folder: Path, ranks: int, rows: int, length: int, *, checkpointing: bool, gathered: torch.dtype
) -> dict[str, int]:
    """Kind of tensor -> bytes at the peak of one rank's two steps, the second of which has moments."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    # The tiles of a GPU: those of a CPU are so many that the tracker takes minutes.
    tile_shape = lm_head.tile_shape
    lm_head.tile_shape = lambda count, width, _: tile_shape(count, width, "cuda")
    config = AutoConfig.from_pretrained(folder)
    with FakeTensorMode() as mode:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        policy_module = PolicyModule(model)
        if checkpointing:
            checkpoint_layers(model, dropout=False)
        policy_module.train()
    shard(policy_module, Ranks(0, ranks), gathered)
    with mode:
        # The CPU's own optimizer, a tensor at a time, is not what is measured here.
        optimizer = torch.optim.AdamW(policy_module.parameters(), foreach=False)
        known = torch.zeros(rows, length - 1)
        batch = Full(
            input_ids=torch.zeros(rows, length, dtype=torch.int64),
            sequence=torch.arange(rows),
            start=torch.ones(rows, dtype=torch.int64),
            mask=torch.ones(rows, length - 1, dtype=torch.bool),
            logp_old=known,
            recorded=torch.ones(rows, dtype=torch.bool),
            logp_sampled=known,
        )
        tracker = FSDPMemTracker(policy_module, optimizer)
        with tracker:
            # The first micro-batch has neither gradients nor moments beside it, and the last has both.
            for last in (True, False, True):
                with autocast(torch.device("cpu"), "bfloat16"):
                    outputs = policy_module(batch, 1.0, entropy_gradient=True)
                (outputs.logp.sum() + outputs.entropy.sum()).backward()
                del outputs
                tracker.reset_mod_stats()
                if last:
                    optimizer.step()
                    optimizer.zero_grad()
        [found] = tracker.get_tracker_snapshot("peak").values()
    torch.distributed.destroy_process_group()
    return {str(kind): size for kind, size in found.items()}


if __name__ == "__main__":
    model_folder, *numbers, recomputed, gathered_dtype = sys.argv[1:]
    sizes = [int(number) for number in numbers]
    kind = getattr(torch, gathered_dtype)
    print(
        json.dumps(peak(Path(model_folder), *sizes, checkpointing=recomputed == "recomputed", gathered=kind))
    )
