"""Moments that wait in host memory: the bytes of a step do not change, and the device holds one pair."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor, Shard

from hpt_core.config import LoraConfig, OptimizerConfig
from hpt_core.policy import host_moments
from hpt_core.policy.host_moments import empty_moment
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.optimizers import build_optimizers, scale_rates
from tests.fake_ranks import sharded_by_a_mesh
from tests.unit.policy.small_models import small_model

OPTIMIZERS = {
    "adamw": OptimizerConfig(lr=1e-2, weight_decay=0.1),
    "muon": OptimizerConfig(name="muon", lr=1e-2, weight_decay=0.1),
}


def stepped(config: OptimizerConfig, lora: LoraConfig | None, *, offloaded: bool) -> tuple[Any, Any]:
    """Weights and moments after three steps at several rates; one parameter has no gradient in the first."""
    model = small_model("llama")
    if lora is not None:
        with_lora(LoadedPolicy(model, None), lora, 1)  # type: ignore[arg-type]
    optimizers = build_optimizers(model, config)
    if offloaded:
        host_moments.offload(optimizers)
    torch.manual_seed(0)
    for number in range(3):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.grad = torch.randn_like(parameter)
        if number == 0:
            trained[-1].grad = None
        scale_rates(optimizers, 1 / (number + 1))
        for optimizer in optimizers:
            host_moments.step(optimizer)
    return model.state_dict(), [optimizer.state_dict()["state"] for optimizer in optimizers]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["weights", "adapters"])
@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_weights_and_moments_have_the_same_bytes(config: OptimizerConfig, lora: LoraConfig | None) -> None:
    (weights, moments), (own, own_moments) = (stepped(config, lora, offloaded=o) for o in (True, False))
    torch.testing.assert_close(weights, own, rtol=0, atol=0)
    torch.testing.assert_close(moments, own_moments, rtol=0, atol=0)


def on_gpu(mesh: Any) -> list[nn.Parameter]:
    """Two matrices and a vector on a GPU, in shards where there is a mesh."""
    tensors = [torch.randn(6, 4, device="cuda") for _ in range(2)] + [torch.randn(6, device="cuda")]
    if mesh is not None:
        tensors = [DTensor.from_local(tensor, mesh, [Shard(0)]) for tensor in tensors]
    return [nn.Parameter(tensor) for tensor in tensors]


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "shards"])
@pytest.mark.parametrize("offloaded", [False, True])
def test_moments_of_one_parameter_at_a_time_are_on_the_device(*, sharded: bool, offloaded: bool) -> None:
    """The device is a GPU of torch's fake tensors, which have types, shapes and devices, and no values."""
    seen: list[int] = []
    with sharded_by_a_mesh() if sharded else nullcontext() as mesh, FakeTensorMode():
        parameters = on_gpu(mesh)
        module = nn.ParameterList(parameters)
        [optimizer] = build_optimizers(module, OPTIMIZERS["adamw"])
        if offloaded:
            host_moments.offload([optimizer])

        def on_device() -> int:
            moments = [m for state in optimizer.state.values() for key, m in state.items() if key != "step"]
            assert all(isinstance(moment, DTensor) == sharded for moment in moments)
            return sum(moment.device.type == "cuda" for moment in moments)

        optimizer.register_step_post_hook(lambda *_: seen.append(on_device()))
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            host_moments.step(optimizer)
            seen.append(on_device())
        [group, *_] = optimizer.param_groups
        waits_on = empty_moment(parameters[0], group).device.type
    assert waits_on == ("cpu" if offloaded else "cuda")
    assert seen == ([2, 2, 2, 0] * 2 if offloaded else [6, 6] * 2)
