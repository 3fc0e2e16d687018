"""A copy of a model in another dtype, with the types that `from_pretrained` would give it."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights


def copy_in_dtype(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy of `model` in `dtype`, as `from_pretrained(dtype=dtype)` would read it from disk.

    `model.to(dtype)` would round what transformers keeps in float32: rotary frequencies, whose error grows
    with the position, and the modules of `_keep_in_fp32_modules_strict` (a router's bias). The copy shares no
    memory with `model`, and no second copy in the model's own dtype is made on the way.
    """
    types = _types(model, dtype)
    memo: dict[int, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        cast = _cast(tensor.detach(), types.get(name, tensor.dtype))
        trained = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(cast, tensor.requires_grad) if trained else cast
    # A deep copy takes what the memo has for an object, so that tied weights stay tied.
    copied = copy.deepcopy(model, memo)
    for config in (copied.config, copied.config.get_text_config()):
        config.dtype = dtype
    return copied


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
