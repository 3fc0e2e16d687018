"""Copies of a model whose tensors are chosen, with everything else as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

NamedTensor = Callable[[str, Tensor], Tensor]
"""Name and tensor of the model -> the copy's tensor."""


def copy_with(model: PreTrainedModel, parameter: NamedTensor, buffer: NamedTensor) -> PreTrainedModel:
    """A deep copy of `model` with other parameters and buffers; tied parameters stay tied."""
    memo: dict[int, Any] = {}
    for name, weight in model.named_parameters():
        memo[id(weight)] = nn.Parameter(parameter(name, weight.detach()), weight.requires_grad)
    for name, tensor in model.named_buffers():
        memo[id(tensor)] = buffer(name, tensor.detach())
    # A deep copy takes what the memo has for an object.
    return copy.deepcopy(model, memo)


def without_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose parameters have names, shapes and types alone ("meta"); its buffers are copied."""
    return copy_with(model, lambda _, tensor: tensor.to("meta"), lambda _, tensor: tensor.clone())
