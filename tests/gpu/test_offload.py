"""Moments in host memory on a GPU: the bytes of the steps, where moments are, and what the device has."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from hpt_core.config import OptimizerConfig
from hpt_core.policy import host_moments
from hpt_core.policy.optimizers import build_optimizers
from tests.fake_ranks import sharded_by_a_mesh

COUNT, SIZE = 8, 1024
MATRIX = 4 * SIZE**2
"""Bytes of each of the matrices."""


def local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def stepped(mesh: Any, config: OptimizerConfig, *, offloaded: bool) -> tuple[list[Tensor], int, int]:
    """Weights after three steps; bytes that the last one had at most beyond those before it, and moments' on
    the device.
    """
    torch.manual_seed(0)
    tensors = [torch.randn(SIZE, SIZE, device="cuda") for _ in range(COUNT)]
    if mesh is not None:
        tensors = [DTensor.from_local(tensor, mesh, [Shard(0)]) for tensor in tensors]
    module = nn.ParameterList([nn.Parameter(tensor) for tensor in tensors])
    optimizers = build_optimizers(module, config)
    if offloaded:
        host_moments.offload(optimizers)
    for _ in range(3):
        for parameter in module:
            parameter.grad = torch.ones_like(parameter)
            local(parameter.grad).normal_()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for optimizer in optimizers:
            host_moments.step(optimizer)
    beyond = torch.cuda.max_memory_allocated() - before
    moments = [
        local(moment)
        for optimizer in optimizers
        for state in optimizer.state.values()
        for key, moment in state.items()
        if key != "step"
    ]
    assert all(moment.is_pinned() == offloaded for moment in moments)
    weights = [local(parameter.detach()).clone() for parameter in module]
    return weights, beyond, sum(moment.nbytes for moment in moments if moment.is_cuda)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "shards"])
def test_adamw(*, sharded: bool) -> None:
    with sharded_by_a_mesh() if sharded else nullcontext() as mesh:
        config = OptimizerConfig(lr=1e-2, weight_decay=0.1)
        weights, beyond, on_device = stepped(mesh, config, offloaded=True)
        own, _, own_on_device = stepped(mesh, config, offloaded=False)
    torch.testing.assert_close(weights, own, rtol=0, atol=0)
    assert own_on_device == 2 * COUNT * MATRIX and on_device == 0
    assert 2 * MATRIX <= beyond <= 6 * MATRIX, "two moments of one matrix, and what its step computes"


def test_muon() -> None:
    config = OptimizerConfig(name="muon", lr=1e-2, weight_decay=0.1)
    weights, _, on_device = stepped(None, config, offloaded=True)
    own, _, own_on_device = stepped(None, config, offloaded=False)
    torch.testing.assert_close(weights, own, rtol=0, atol=0)
    assert own_on_device == COUNT * MATRIX and on_device == 0
