"""Whole tensors and Muon's steps, from three ranks of which some have fewer rows than others, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn

from hpt_core.policy import muon
from hpt_core.policy.muon import Muon
from hpt_core.policy.weights import gathering
from hpt_core.policy.weights.gathering import BUCKET, full_tensors

RANKS = 3


def tensors() -> dict[str, Tensor]:
    """Shapes that three ranks share unevenly; two types; one tensor above the size of a bucket."""
    draw = torch.Generator().manual_seed(1)
    shapes = {"norm": (7,), "one": (1,), "bias": (4, 1), "matrix": (8, 5), "experts": (2, 3, 4), "gain": (3,)}
    named = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    named["half"] = torch.randn(9, generator=draw).bfloat16()
    named["large"] = torch.randn(BUCKET // 4 + 1, generator=draw)
    return {**named, "last": torch.randn(5, generator=draw)}


def stepped(make: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Four matrices after three steps; the third of them has a gradient every other step."""
    draw = torch.Generator().manual_seed(2)
    shapes = [(6, 4), (4, 6), (2, 5), (7, 7)]
    matrices = [nn.Parameter(make(torch.randn(shape, generator=draw))) for shape in shapes]
    optimizer = Muon(matrices, lr=0.1, weight_decay=0.1)
    for step in range(3):
        for i, matrix in enumerate(matrices):
            grad = torch.randn(matrix.shape, generator=draw)
            matrix.grad = None if i == 2 and step == 1 else make(grad)
        optimizer.step()
    return [matrix.detach() for matrix in matrices]


def of_rank(rank: int, folder: Path) -> None:
    store = FileStore(str(folder / "store"), RANKS)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS, store=store)
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (RANKS,))

    def sharded(whole: Tensor) -> Tensor:
        return distribute_tensor(whole, mesh, [Shard(0)])

    placed = {name: sharded(whole) for name, whole in tensors().items()}
    placed["experts"] = distribute_tensor(tensors()["experts"], mesh, [Replicate()])
    placed["gain"] = tensors()["gain"]
    with patch.object(gathering, "all_gather", wraps=dist.all_gather) as exchange:
        found: dict[str, Any] = {"gathered": dict(full_tensors(placed.items()))}
    found["exchanges"] = exchange.call_count
    for name, size in {"together": BUCKET, "in rounds": 0}.items():
        with patch.object(muon, "BUCKET", size):
            found[name] = [part.full_tensor() for part in stepped(sharded)]  # type: ignore[attr-defined]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[4])]))
        spawn(of_rank, (folder,), RANKS)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def test_every_rank_has_all_tensors_in_their_order(found: list[dict[str, Any]]) -> None:
    for of_rank in found:
        assert list(of_rank["gathered"]) == list(tensors())
        for name, whole in tensors().items():
            assert torch.equal(of_rank["gathered"][name], whole), name
            storage = of_rank["gathered"][name].untyped_storage().nbytes()
            assert storage < 2 * whole.nbytes + 100, f"{name} does not keep what it was gathered with"


def test_neighbours_of_one_type_are_gathered_together(found: list[dict[str, Any]]) -> None:
    # norm, one, bias and matrix; the others have no neighbour of their type below the size of a bucket.
    assert {of_rank["exchanges"] for of_rank in found} == {1}


@pytest.mark.parametrize("gathered", ["together", "in rounds"])
def test_steps_of_muon_have_the_same_bits(found: list[dict[str, Any]], gathered: str) -> None:
    alone = stepped(lambda whole: whole)
    for of_rank in found:
        for own, whole in zip(of_rank[gathered], alone, strict=True):
            assert torch.equal(own, whole)
