"""The weights of the plain model: adapters added to their base weights, shards gathered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Any, cast

import torch
from peft.tuners.lora import Embedding, Linear, LoraLayer, ParamWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from hpt_core.policy.weights.gathering import full_tensor, full_tensors

MERGED: tuple[type[LoraLayer], ...] = (Linear, Embedding, ParamWrapper)
"""Kinds of LoRA layers whose adapters are added right: linear layers (GPT-2's `Conv1D` too), embeddings, and
parameters without a layer of their own, such as stacked experts. `lora.with_lora` refuses all others."""


@torch.no_grad()
def merged_weights(model: PreTrainedModel, *, adapters: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Parameters of the plain model in order of name, detached and unsharded; tied parameters come once.

    Each adapter is added to its base weight, under the base weight's name, unless `adapters` is False.
    `model` itself does not change: peft's merge and unmerge would leave rounding errors in the base weights.
    For a sharded model all ranks must exhaust the iterator.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    adapted = {adapted_weight(layer): layer for layer in layers.values()}
    plain = {
        plain_name(name): parameter
        for name, parameter in model.named_parameters()
        if not (".lora_" in name and name.partition(".lora_")[0] in layers)
    }

    def weights() -> Iterator[tuple[str, Tensor]]:
        for name, parameter in sorted(plain.items()):
            weight = parameter.detach()
            layer = adapted.get(parameter)
            if adapters and layer is not None:
                weight = _merged(weight, layer)
            yield name, weight

    yield from full_tensors(weights())


def persistent_buffers(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a saved model has, in order of name; outputs depend on them, and they are not trained."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    state: dict[str, Tensor] = model.state_dict()
    yield from ((plain_name(name), state[name]) for name in sorted(state.keys() - parameters))


def named_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """`merged_weights` and `persistent_buffers` together, in order of name: all that an output depends on."""
    yield from merge(merged_weights(model), persistent_buffers(model), key=itemgetter(0))


def base_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """`named_weights` of the model without its adapters."""
    yield from merge(merged_weights(model, adapters=False), persistent_buffers(model), key=itemgetter(0))


def plain_name(name: str) -> str:
    """The name in the plain model; peft wraps a layer once for each of its adapted parameters."""
    return re.sub(r"\.base_layer(?=\.)", "", name)


def adapted_weight(layer: LoraLayer) -> nn.Parameter:
    """The parameter that an adapter is added to."""
    weight: nn.Parameter = getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight"))
    return weight


def _merged(weight: Tensor, layer: Any) -> Tensor:
    (adapter,) = layer.active_adapters
    if not isinstance(layer, ParamWrapper):
        return cast(Tensor, (weight + layer.get_delta_weight(adapter)).to(weight.dtype))
    # peft's own function reshapes the factors, which cannot be done to shards of them. A is
    # [experts * rank, in], B is [out, rank * experts].
    a, b = (full_tensor(cast(Any, factors)[adapter].weight) for factors in (layer.lora_A, layer.lora_B))
    a, b = a.view(layer.num_experts, -1, a.shape[1]), b.view(len(b), -1, layer.num_experts)
    delta = torch.einsum("ore,eri->eoi", b, a) * layer.scaling[adapter]
    if weight.ndim == 3 and not layer._did_swap_in_out_features:  # the weight is [experts, in, out]
        delta = delta.transpose(1, 2)
    merged: Tensor = full_tensor(weight) + delta.reshape(weight.shape)
    return merged.to(weight.dtype)
