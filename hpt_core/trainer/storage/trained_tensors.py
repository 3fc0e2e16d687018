"""The tensors that a checkpoint has: trained weights and optimizer states, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hpt_core.policy.host_moments import empty_moment
from hpt_core.trainer.storage.shards import SavedTensors

WEIGHTS, MOMENTS = "weights/", "moments/"
"""Beginnings of the names."""


def trained_tensors(module: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    """Weights under WEIGHTS and their name, states under MOMENTS and NUMBER.PARAMETER.KEY; none is copied."""
    for name, parameter in _trained(module):
        yield WEIGHTS + name, parameter
    for number, optimizer in enumerate(optimizers):
        for place, entry in sorted(optimizer.state_dict()["state"].items()):
            for key, value in sorted(entry.items()):
                yield f"{MOMENTS}{number}.{place}.{key}", value


def load(saved: SavedTensors, module: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Read this rank's parts. Raises ValueError, before any change, for tensors of another module or of other
    optimizers.
    """
    trained = dict(_trained(module))
    names = {name.removeprefix(WEIGHTS) for name in saved.names(WEIGHTS)}
    if trained.keys() != names:
        raise ValueError(f"other parameters than those trained: {sorted(trained.keys() ^ names)[:4]}")
    for name, parameter in trained.items():
        _check_shape(saved, WEIGHTS + name, parameter)
    states = _states(saved, optimizers)
    for name, parameter in trained.items():
        saved.fill(parameter, WEIGHTS + name)
    for optimizer, state in zip(optimizers, states, strict=True):
        # `load_state_dict` would put moments on the device that wait in host memory.
        optimizer.state = state


def _states(saved: SavedTensors, optimizers: Sequence[Optimizer]) -> list[defaultdict[Tensor, Any]]:
    """The state of each optimizer, sharded as its parameters are, in the memory in which it waits."""
    parameters = [[(p, group) for group in o.param_groups for p in group["params"]] for o in optimizers]
    states: list[defaultdict[Tensor, Any]] = [defaultdict(dict) for _ in optimizers]
    for name in saved.names(MOMENTS):
        number, place, key = name.removeprefix(MOMENTS).split(".", 2)
        try:
            parameter, group = parameters[int(number)][int(place)]
        except IndexError as error:
            raise ValueError(f"{name} belongs to no parameter of the optimizers") from error
        if saved.shape(name):
            _check_shape(saved, name, parameter)
            value = empty_moment(parameter, group)
        else:
            value = torch.empty(())  # A number of steps, which torch's optimizers keep in float32 on the CPU.
        saved.fill(value, name)
        states[int(number)][parameter][key] = value
    return states


def _check_shape(saved: SavedTensors, name: str, like: Tensor) -> None:
    if saved.shape(name) != tuple(like.shape):
        raise ValueError(f"{name} is {list(saved.shape(name))} and should be {list(like.shape)}")


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
