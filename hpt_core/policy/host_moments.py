"""Moments of an optimizer that wait in host memory: on the device are one parameter's at a time.

FSDP2's own offload (`CPUOffloadPolicy`) moves more, and costs more: it keeps weights and gradients in host
memory too, sends the weights to the device for every forward and backward pass of a micro-batch, steps with
the kernels of the processor, whose rounding differs, and needs a sharded model. Here moments alone move, once
for an update, and the same kernels of the device compute the step. So weights and moments have the same bytes
with and without offload, with any number of ranks, and either resumes the other's checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OFFLOADED = "moments_in_host_memory"
"""Key of an optimizer's groups of parameters: whether their moments wait in host memory."""
STEPS = "step"
"""Key of AdamW's number of steps, which torch keeps in host memory anyway."""


def offload(optimizers: Sequence[Optimizer]) -> None:
    """Have the moments wait in host memory from the next `step` or resumed checkpoint on."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group[OFFLOADED] = True


def empty_moment(parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
    """A moment of `parameter`, of any value and sharded as it is, in the memory in which it waits."""
    if not group.get(OFFLOADED):
        return torch.empty_like(parameter, requires_grad=False)
    # Page-locked memory is what the device can copy from on its own, at the full rate of the bus.
    pinned = torch.cuda.is_available()
    return torch.empty_like(parameter, requires_grad=False, device="cpu", pin_memory=pinned)


def step(optimizer: Optimizer) -> None:
    """`optimizer.step()`, for moments that wait where the optimizer's groups say."""
    groups = optimizer.param_groups
    if not any(group.get(OFFLOADED) for group in groups):
        optimizer.step()
        return
    try:
        for group in groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    optimizer.param_groups = [{**group, "params": [parameter]}]
                    _step(optimizer, parameter, group)
    finally:
        optimizer.param_groups = groups


@torch.no_grad()
def _step(optimizer: Optimizer, parameter: nn.Parameter, group: dict[str, Any]) -> None:
    """Step with the moments of the only parameter of the optimizer's only group on the device."""
    state = optimizer.state[parameter]
    waiting = {key: moment for key, moment in state.items() if key != STEPS}
    for key, moment in waiting.items():
        state[key] = moment.to(parameter.device, non_blocking=True)
    optimizer.step()
    for key in state.keys() - {STEPS}:
        host = waiting.get(key)
        # This copy ends before it returns, so that a checkpoint may read the moments from then on.
        state[key] = (empty_moment(parameter, group) if host is None else host).copy_(state[key])
