"""Trained weights and optimizer states as full tensors by name, the same for every number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from hpt_core.policy.model import full_tensor


def weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Trained parameters. All ranks of a sharded module must exhaust the iterator."""
    for name, parameter in _trained(module):
        yield name, full_tensor(parameter.detach())


def moments(optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    """Optimizer states under NUMBER.PARAMETER.KEY. All ranks of sharded ones must exhaust the iterator."""
    for number, optimizer in enumerate(optimizers):
        for parameter, entry in sorted(optimizer.state_dict()["state"].items()):
            for key, value in sorted(entry.items()):
                yield f"{number}.{parameter}.{key}", full_tensor(value)


@torch.no_grad()
def load_weights(module: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copy `saved` into the module. Raises ValueError, before any change, for tensors of another module."""
    trained = dict(_trained(module))
    if trained.keys() != saved.keys():
        raise ValueError(f"other parameters than those trained: {sorted(trained.keys() ^ saved.keys())[:4]}")
    for name, parameter in trained.items():
        if parameter.shape != saved[name].shape:
            raise ValueError(f"{name} is {list(saved[name].shape)} and should be {list(parameter.shape)}")
    for name, parameter in trained.items():
        parameter.copy_(_like(saved[name], parameter))


def load_moments(optimizers: Sequence[Optimizer], saved: Mapping[str, Tensor]) -> None:
    """Load the states. Raises ValueError, before any change, for states of other optimizers."""
    parameters = [[p for group in o.param_groups for p in group["params"]] for o in optimizers]
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    for name, tensor in saved.items():
        number, index, key = name.split(".", 2)
        try:
            parameter = parameters[int(number)][int(index)]
        except IndexError as error:
            raise ValueError(f"{name} belongs to no parameter of the optimizers") from error
        if tensor.ndim and tensor.shape != parameter.shape:
            raise ValueError(f"{name} is {list(tensor.shape)} and should be {list(parameter.shape)}")
        value = _like(tensor, parameter) if tensor.ndim else tensor
        states[int(number)].setdefault(int(index), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def _like(tensor: Tensor, like: Tensor) -> Tensor:
    """The full `tensor`, which every rank has, sharded as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
