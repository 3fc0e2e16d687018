"""Adapters as a sampler serves them: beside the weights that they are added to, and not merged into them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from hpt_core.errors import InputError
from hpt_core.policy.weights.gathering import full_tensor
from hpt_core.policy.weights.merged import adapted_weight


@torch.no_grad()
def adapter_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """The factors of each adapter, in order of name: LAYER.lora_A.weight [rank, in] and LAYER.lora_B.weight
    [out, rank].

    B has the scale (alpha / rank) in it, so that the layer's output gains B A x. They are detached and
    unsharded; for a sharded model all ranks must exhaust the iterator.
    """
    for name, layer in _layers(model):
        (adapter,) = layer.active_adapters
        a, b = (full_tensor(factors[adapter].weight.detach()) for factors in (layer.lora_A, layer.lora_B))
        yield f"{name}.lora_A.weight", a
        yield f"{name}.lora_B.weight", b * layer.scaling[adapter]


def check_served_layers(model: PreTrainedModel) -> None:
    """Raises InputError for an adapter on anything but a linear layer, and for one on the LM head."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    for name, layer in _layers(model):
        on_head = adapted_weight(layer) is getattr(head, "weight", None)
        if on_head or type(layer) is not Linear:
            kind = "the LM head" if on_head else f"{type(layer.get_base_layer()).__name__}, no linear layer"
            raise InputError(
                f"rollout.vllm.lora: the adapter of {name} is on {kind}, and vLLM is given those of linear "
                "layers alone; leave it out of train.lora.targets, or set rollout.vllm.lora: false"
            )


def _layers(model: PreTrainedModel) -> list[tuple[str, Any]]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    return sorted(layers.items())
