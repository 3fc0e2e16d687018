"""Rows that several ranks share: each computes a slice of the tokens, and attention gathers keys and values.

Everything else in a transformer acts on a token alone. So a rank holds the activations of its slice, and of
all tokens a layer's keys and values, which are small with grouped queries. Llama 3 was trained in this way
(arXiv 2407.21783, section 3.3.2). torch's own (`torch.distributed.tensor.experimental.context_parallel`,
2.13) passes keys and values around a ring. It replaces three CUDA kernels and none of a CPU, and causal
attention there must be PyTorch's fused kernel without a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hpt_core.errors import InputError
from hpt_core.policy.batching import Padded

NAME = "hpt_context"
"""Of the attention, with transformers; and of the argument that passes the context to it."""


@dataclass(frozen=True)
class Context:
    """This rank among the `count` that share rows. All must compute the same rows, in the same order."""

    group: ProcessGroup
    index: int
    count: int

    def width(self, columns: int) -> int:
        """Tokens of each slice of a sequence of that many; the last may have padding behind them."""
        return -(-columns // self.count)

    def slice(self, input_ids: Tensor) -> Tensor:
        """This rank's columns [S, l] of `input_ids` [S, L]."""
        width = self.width(input_ids.shape[1])
        whole = pad(input_ids, (0, width * self.count - input_ids.shape[1]))
        return whole[:, self.index * width : (self.index + 1) * width]

    def joined(self, part: Tensor) -> Tensor:
        """The sum of all ranks' `part`, of which each number is one rank's, and 0 on the others.

        All ranks compute the same loss from it, so that each has the whole gradient of its own numbers.
        """
        return _Joined.apply(part, self)  # type: ignore[no-untyped-call, no-any-return]


class Part(NamedTuple):
    """The columns of a batch that this rank computes, and the N response tokens that they predict."""

    input_ids: Tensor
    """[S, l]."""
    arguments: dict[str, Any]
    """More of the model's arguments."""
    row: Tensor
    position: Tensor
    sequence: Tensor
    column: Tensor
    """Of `input_ids`, that which predicts the token."""
    token: Tensor


def part_of(batch: Padded, context: Context | None) -> Part:
    """All of the batch, or this rank's slice of it."""
    row, position, column = batch.tokens
    sequence, input_ids = batch.sequence[row], batch.input_ids
    token, column = input_ids[sequence, column], column - 1
    if context is None:
        # The position ids of packed rows keep them apart.
        arguments = {} if batch.positions is None else {"position_ids": batch.positions}
        return Part(input_ids, arguments, row, position, sequence, column, token)
    width = context.width(input_ids.shape[1])
    column = column - context.index * width
    own = ((column >= 0) & (column < width)).nonzero().squeeze(1)
    places = torch.arange(width, device=column.device)[None] + context.index * width
    return Part(
        context.slice(input_ids),
        {"position_ids": places, NAME: context},
        *(each[own] for each in (row, position, sequence, column, token)),
    )


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, context: Context) -> Tensor:
        total = part.clone()
        torch.distributed.all_reduce(total, group=context.group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Gathered(torch.autograd.Function):
    """[B, K, l, D] of each rank -> [B, K, L, D] of all; the gradients of all ranks' attention are summed."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, context: Context) -> Tensor:
        ctx.context = context
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(context.count)]
        torch.distributed.all_gather(parts, part.contiguous(), group=context.group)
        return torch.cat(parts, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        context: Context = ctx.context
        parts = torch.cat(gradient.chunk(context.count, 2))
        own = torch.empty_like(parts[: len(gradient)])
        torch.distributed.reduce_scatter_tensor(own, parts, group=context.group)
        return own, None


def context_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    hpt_context: Context | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """PyTorch's attention; with a context, of this rank's queries and the keys and values of all slices."""
    if hpt_context is not None:
        length = query.shape[2]
        key, value = (_Gathered.apply(part, hpt_context) for part in (key, value))  # type: ignore[no-untyped-call]
        places = torch.arange(key.shape[2], device=query.device)
        first = hpt_context.index * length
        attention_mask = (places[first : first + length, None] >= places)[None, None]
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(NAME, context_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_in_context(model: PreTrainedModel) -> None:
    """Have `model` attend by `context_attention` from now on. Raises InputError where it cannot."""
    config: Any = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        kinds.add("sliding_attention")
    interface = model._supports_attention_backend and model._can_set_attn_implementation()
    if not interface or model.config._attn_implementation != "sdpa" or kinds != {"full_attention"}:
        raise InputError(
            f"train.context_parallel: {type(model).__name__} has layers that are not plain causal attention "
            "by PyTorch's kernel; set it to 1"
        )
    model.config._attn_implementation = NAME
