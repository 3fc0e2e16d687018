"""The weights of the plain model: adapters added to their base weights, shards gathered."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

BASE_SUFFIX = ".base_layer.weight"
"""How peft ends the name of a weight that has an adapter."""


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself; a sharded one is gathered from all ranks, which must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters of the plain model in order of name, detached and unsharded; tied parameters come once.

    Each adapter is added to its base weight, under the base weight's name. `model` itself does not change:
    peft's merge and unmerge would leave rounding errors in the base weights. For a sharded model all ranks
    must exhaust the iterator.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    plain = {}
    for name, parameter in model.named_parameters():
        owner, _, rest = name.partition(".lora_")
        if not (rest and owner in layers):
            plain[name.replace(".base_layer.", ".")] = (parameter, layers.get(name.removesuffix(BASE_SUFFIX)))
    for name, (parameter, layer) in sorted(plain.items()):
        weight = parameter.detach()
        if layer is not None:
            (adapter,) = layer.active_adapters
            weight = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)  # type: ignore[attr-defined]
        yield name, full_tensor(weight)
