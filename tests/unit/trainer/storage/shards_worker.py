"""Saves and resumes checkpoints as one rank of any number: `python shards_worker.py FOLDER SAVED_BY_OTHERS`.

The checkpoints of N ranks are in FOLDER/N, beside their whole tensors as N.safetensors.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import LlamaConfig, LlamaForCausalLM

from hpt_core.config import OptimizerConfig
from hpt_core.errors import CheckpointError
from hpt_core.policy import host_moments
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.policy.weights.gathering import full_tensor
from hpt_core.trainer import checkpoint
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.ranks import Ranks, join, leave
from hpt_core.trainer.sharding import shard
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.storage import shards
from hpt_core.trainer.storage.trained_tensors import trained_tensors

State = tuple[PolicyModule, list[Optimizer]]


def fresh(ranks: Ranks) -> State:
    """Sizes are no multiples of the ranks, and the value head has one row: some ranks hold none of it.

    Moments of two ranks wait in host memory.
    """
    torch.manual_seed(ranks.count)
    shape = LlamaConfig(
        vocab_size=37,
        hidden_size=20,
        intermediate_size=27,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    module = PolicyModule.of(LlamaForCausalLM(shape), values=True)
    shard(module, ranks)
    head = module.value_head
    optimizers = build_optimizers(module.model, OptimizerConfig(name="muon", lr=0.01), value_head=head)
    if ranks.count == 2:
        host_moments.offload(optimizers)
    return module, optimizers


def step(state: State) -> None:
    """An update whose gradients are random."""
    module, optimizers = state
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in optimizers:
        host_moments.step(optimizer)


def whole(state: State) -> dict[str, Tensor]:
    return {name: full_tensor(tensor.detach()).clone() for name, tensor in trained_tensors(*state)}


def size(tensors: Iterator[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[n], t) for n, t in expected.items())


@contextmanager
def bytes_read() -> Iterator[list[int]]:
    """Bytes of each slice that is read from a file."""
    read, sizes = shards.SavedTensors._read, list[int]()

    def counting(self: shards.SavedTensors, *place: object) -> Tensor:
        part = read(self, *place)  # type: ignore[arg-type]
        sizes.append(part.nbytes)
        return part

    with patch.object(shards.SavedTensors, "_read", counting):
        yield sizes


def resumed(folder: Path, ranks: Ranks) -> tuple[int, State, int]:
    """The step of the newest checkpoint, its state, and the bytes that were read for it."""
    state = fresh(ranks)
    with bytes_read() as sizes:
        newest = Checkpoints(folder, "run", ranks=ranks).resume(*state)
    return newest, state, sum(sizes)


def saved(folder: Path, ranks: Ranks) -> dict[str, object]:
    """Save step 2, with an update while it is being written; returns what this rank held for it."""
    state, held = fresh(ranks), list[int]()
    step(state)
    expected = whole(state)
    if ranks.main:
        save_file(expected, folder / f"{ranks.count}.safetensors")

    def counting(*tensors: object, **main: bool) -> dict[str, shards.Shard]:
        copies = shards.copied_to_host(*tensors, **main)  # type: ignore[arg-type]
        held.append(size(shard.data for shard in copies.values()))
        return copies

    checkpoints = Checkpoints(folder / str(ranks.count), "run", ranks=ranks)
    gathering = AssertionError("a checkpoint gathers no tensor")
    with (
        patch.object(checkpoint, "copied_to_host", counting),
        patch.object(DTensor, "full_tensor", side_effect=gathering),
        patch.object(DTensor, "redistribute", side_effect=gathering),
    ):
        checkpoints.save(2, *state, Records(metrics=[{"step": 2}]))
        with torch.no_grad():
            for parameter in state[0].parameters():
                shards.shard_of(parameter).data.add_(1)
        checkpoints.wait()
    return {"held": held, "whole": size(iter(expected.values()))}


def failing(folder: Path, ranks: Ranks) -> str:
    """What this rank raises where the disk of the last rank alone is full, at step 4."""
    state, checkpoints = fresh(ranks), Checkpoints(folder / str(ranks.count), "run", ranks=ranks)
    checkpoints.resume(*state)
    full = OSError(ENOSPC, "No space left on device")
    fails = ranks.index == ranks.count - 1
    with patch.object(shards, "save_file", **({"side_effect": full} if fails else {"wraps": save_file})):
        checkpoints.save(4, *state, Records())
        try:
            checkpoints.wait()
        except (OSError, CheckpointError) as error:
            return f"{type(error).__name__}: {error}"
    return "nothing"


def damaged(folder: Path, ranks: Ranks) -> int:
    """The step that is resumed where a byte in the last rank's shards of the newest one, 4, is another."""
    state, checkpoints = fresh(ranks), Checkpoints(folder / str(ranks.count), "run", ranks=ranks)
    checkpoints.resume(*state)
    weights = checkpoints.folder / "weights"
    if ranks.main:
        shutil.copytree(weights / "000002", folder / "kept")
    checkpoints.save(4, *state, Records())
    checkpoints.wait()
    if ranks.main:
        (folder / "kept").rename(weights / "000002")
        path = weights / f"000004/rank{ranks.count - 1}of{ranks.count}.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    ranks.gather([])  # until the main rank has changed the file
    return resumed(folder / str(ranks.count), ranks)[0]


def killed(folder: Path, ranks: Ranks) -> None:
    """The last rank is killed in the middle of writing step 6, while the main thread goes on."""
    state, checkpoints = fresh(ranks), Checkpoints(folder / str(ranks.count), "run", ranks=ranks)
    checkpoints.resume(*state)

    def half(tensors: dict[str, Tensor], path: Path) -> None:
        if ranks.index == ranks.count - 1:
            path.write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        save_file(tensors, path)

    with patch.object(shards, "save_file", half):
        checkpoints.save(6, *state, Records())
        checkpoints.wait()


def main(folder: Path, others: int) -> None:
    ranks = join()
    newest, state, read = resumed(folder / str(others), ranks)
    found = {
        "newest": newest,
        "same": same(whole(state), load_file(folder / f"{others}.safetensors")),
        "read": read,
        "mine": size(shards.shard_of(tensor).data for _, tensor in trained_tensors(*state)),
        **saved(folder, ranks),
        "failing": failing(folder, ranks),
        "damaged": damaged(folder, ranks),
    }
    (folder / f"{ranks.index}of{ranks.count}.json").write_text(json.dumps(found))
    killed(folder, ranks)
    leave(ranks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.basicConfig(format="%(message)s")
    main(Path(sys.argv[1]), int(sys.argv[2]))
