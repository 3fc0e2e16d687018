"""Attention of one new token over a long cache, which sampling computes for every token.

It is registered with transformers under a name of its own, so that any model that uses transformers'
attention interface can use it. Whatever it does not compute itself goes to PyTorch's kernel: longer queries
(a prefill), and masks or biases that are added to the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "hpt_decode"


def decode_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query [B, H, S, D], key and value [B, K, L, D], mask [B, 1, S, L] bool -> [B, S, H, D].

    For S = 1 the H / K heads that share a key become rows of one matrix product, so that keys need not be
    repeated. PyTorch's fused CPU kernel takes up to ten times as long there, most of all in bfloat16.
    """
    batch, heads, steps, width = query.shape
    shared = key.shape[1]
    masks = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    if steps > 1 or not masks or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.view(batch, shared, heads // shared, width)
    scores = (grouped @ key.transpose(2, 3)).float() * (width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    output = scores.softmax(-1).to(value.dtype) @ value
    return output.reshape(batch, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, decode_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def can_decode_fast(model: PreTrainedModel) -> bool:
    """Whether `model` is on a CPU, uses PyTorch's attention, and calls it through transformers' interface.

    Falcon and others have code of their own for each kind of attention and choose it by the configured name.
    """
    uses_pytorch_s = model.config._attn_implementation == "sdpa" and model.device.type == "cpu"
    return uses_pytorch_s and model._supports_attention_backend and model._can_set_attn_implementation()


@contextmanager
def fast_decoding(model: PreTrainedModel) -> Iterator[None]:
    """Within the context, a `model` that can do so decodes with `decode_attention`."""
    configured = model.config._attn_implementation
    if can_decode_fast(model):
        model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = configured
