"""Copies of a model in another dtype, with the types that `from_pretrained` would give it."""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from hpt_core.policy.weights.copies import copy_with


def copy_in_dtype(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy of `model` in `dtype`, as `from_pretrained(dtype=dtype)` would read it from disk.

    `model.to(dtype)` would round what transformers keeps in float32: rotary frequencies, whose error grows
    with the position, and the modules of `_keep_in_fp32_modules_strict` (a router's bias). The copy shares no
    memory with `model`, and no second copy in the model's own dtype is made on the way.
    """
    types = _types(model, dtype)

    def cast(name: str, tensor: Tensor) -> Tensor:
        return _cast(tensor, types.get(name, tensor.dtype))

    return _named_as(copy_with(model, cast, cast), dtype)


def empty_in_dtype(model: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """`copy_in_dtype` on `device` with parameters of any value, for weights that are yet to come.

    `model` may be one without weights.
    """
    types = _types(model, dtype)

    def empty(name: str, tensor: Tensor) -> Tensor:
        kind = types.get(name, tensor.dtype) if tensor.is_floating_point() else tensor.dtype
        return torch.empty_like(tensor, dtype=kind, device=device)

    def cast(name: str, tensor: Tensor) -> Tensor:
        return _cast(tensor, types.get(name, tensor.dtype)).to(device)

    return _named_as(copy_with(model, empty, cast), dtype)


def _named_as(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    for config in (model.config, model.config.get_text_config()):
        config.dtype = dtype
    return model


def _types(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Type of each parameter and buffer, from a model without memory and transformers' own plan."""
    config = copy.deepcopy(model.config)
    with torch.device("meta"), no_init_weights():
        skeleton = type(model)._from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    types = {name: tensor.dtype for name, tensor in [*skeleton.named_parameters(), *skeleton.named_buffers()]}
    # The plan holds for what is read from disk: parameters and persistent buffers.
    for name in skeleton.state_dict():
        for pattern, kept in skeleton._get_dtype_plan(dtype).items():
            if re.search(pattern.replace("*", ".*"), name):
                types[name] = kept
    return types


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
