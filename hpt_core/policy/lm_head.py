"""log pi and entropy from hidden states and the LM head, without the full logits.

The logits of N tokens over a vocabulary of V are by far the largest tensor of a step. This module computes
them in tiles, drops each tile after use, and computes it again in the backward pass (as in Cut Cross-Entropy,
arXiv 2411.09009). The cost is one more matrix product; memory does not grow with N x V.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


def tile_shape(count: int, width: int, device: str) -> tuple[int, int]:
    """(rows, columns) of a tile for `count` tokens and numbers of `width` bytes.

    On a CPU a tile has 8 MiB: it is read about ten times, so it should stay in the CPU's cache, and the
    allocator returns larger blocks to the system and faults their pages in again each time. On a GPU it has
    256 MiB, so that a kernel runs longer than its launch takes. A full tile has half as many rows as columns:
    each block of rows reads the head's weights again, each block of columns reads the hidden states again.
    """
    size, row_limit = (8 << 20, 1024) if device == "cpu" else (256 << 20, 4096)
    rows = max(1, min(count, row_limit))
    return rows, max(1, size // (rows * width))


def logp_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    temperature: float,
    *,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """log pi(target) [N] and the entropy [N], in nats, of softmax((hidden W^T + bias) / temperature).

    hidden [N, d], weight [V, d], bias [V], target [N] int64. Matrix products use the dtype of autocast (or of
    the hidden states); everything else is in float32, or in float64 if the hidden states are. Gradients flow
    to hidden, weight and bias; through the entropy only with `entropy_gradient`.
    """
    outputs = _TiledHead.apply(hidden, weight, bias, target, temperature, entropy_gradient)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], outputs)


class _TiledHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        dtype = _product_dtype(hidden)
        wide = torch.promote_types(dtype, torch.float32)
        # Statistics of the columns so far: the largest score m, the sum of exp(z - m), and the sum of
        # (z - m) exp(z - m).
        top = hidden.new_full((len(hidden),), torch.finfo(wide).min, dtype=wide)
        total, moment, target_score = torch.zeros_like(top), torch.zeros_like(top), torch.zeros_like(top)
        for tile in _tiles(hidden.to(dtype), weight, bias, target, temperature):
            rows, scores = tile.rows, tile.scores
            score = scores.gather(1, tile.place).squeeze(1)
            target_score[rows] = torch.where(tile.inside, score, target_score[rows])
            higher = torch.maximum(top[rows], scores.amax(1))
            drop = top[rows] - higher
            scores.sub_(higher[:, None])
            share = scores.exp()
            moment[rows] = drop.exp() * (moment[rows] + drop * total[rows])
            total[rows] = drop.exp() * total[rows] + share.sum(1)
            moment[rows] += share.mul_(scores).sum(1)
            top[rows] = higher
        normaliser = top + total.log()
        # log Z - E[z], both relative to the largest score, so that no large numbers cancel.
        entropy = total.log() - moment / total
        ctx.save_for_backward(hidden, weight, bias, target, normaliser, entropy)
        ctx.dtype, ctx.temperature, ctx.entropy_gradient = dtype, temperature, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return target_score - normaliser, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, from s = d loss / d logits = [g (onehot - p) - g_H p (log p + H)] / temperature."""
        hidden, weight, bias, target, normaliser, entropy = ctx.saved_tensors
        to_hidden, to_weight, to_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.zeros_like(hidden, dtype=normaliser.dtype) if to_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=normaliser.dtype) if to_weight else None
        grad_bias = torch.zeros_like(bias, dtype=normaliser.dtype) if to_bias else None
        # s is a tile of slopes times one factor per token. Scaling the hidden states [N, d] by that factor is
        # cheaper than scaling the tiles.
        scale = (grad_logp.new_ones(len(grad_logp)) if ctx.entropy_gradient else grad_logp) / -ctx.temperature
        scaled = (hidden * scale[:, None]).to(ctx.dtype)
        for tile in _tiles(hidden.to(ctx.dtype), weight, bias, target, ctx.temperature):
            rows, columns = tile.rows, tile.columns
            if ctx.entropy_gradient:
                slopes = _joint_slopes(
                    tile, normaliser[rows], entropy[rows], grad_logp[rows], grad_entropy[rows]
                )
            else:
                slopes = _logp_slopes(tile, normaliser[rows])
            product = slopes.to(ctx.dtype)
            if grad_hidden is not None:
                _add_product(grad_hidden[rows], product, tile.weight)
            if grad_weight is not None:
                _add_product(grad_weight[columns], product.T, scaled[rows])
            if grad_bias is not None:
                grad_bias[columns] += scale[rows] @ slopes
        if grad_hidden is not None:
            grad_hidden.mul_(scale[:, None])
        # Autograd casts each gradient to the dtype of its input.
        return grad_hidden, grad_weight, grad_bias, None, None, None


class _Tile(NamedTuple):
    """The scores of r tokens over c columns of the vocabulary."""

    rows: slice
    columns: slice
    scores: Tensor
    """[r, c], float32 or float64: logits divided by the temperature; the consumer overwrites them."""
    weight: Tensor
    """[c, d], in the dtype of the matrix products."""
    place: Tensor
    """[r, 1]: the target's column within the tile, clamped to it."""
    inside: Tensor
    """[r] bool: whether the target is within the tile."""


def _tiles(
    states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, temperature: float
) -> Iterator[_Tile]:
    """All tiles, with the blocks of columns in the outer loop, so that each weight is cast only once."""
    wide = torch.promote_types(states.dtype, torch.float32)
    height, width = tile_shape(len(states), wide.itemsize, states.device.type)
    for left in range(0, len(weight), width):
        columns = slice(left, min(left + width, len(weight)))
        part = weight[columns].to(states.dtype)
        offset = None if bias is None else bias[columns].to(states.dtype)
        for above in range(0, len(states), height):
            rows = slice(above, min(above + height, len(states)))
            scores = linear(states[rows], part, offset).to(wide)
            if temperature != 1.0:
                scores.div_(temperature)
            place = target[rows] - left
            clamped = place.clamp(0, len(part) - 1)
            yield _Tile(rows, columns, scores, part, clamped[:, None], place == clamped)


def _logp_slopes(tile: _Tile, normaliser: Tensor) -> Tensor:
    """p - onehot [r, c]; overwrites the scores."""
    slopes = tile.scores.sub_(normaliser[:, None]).exp_()
    # The subtraction precedes the cast to bfloat16, in which p - 1 of an almost certain token would be 0.
    return slopes.scatter_add_(1, tile.place, -tile.inside.to(slopes.dtype)[:, None])


def _joint_slopes(
    tile: _Tile, normaliser: Tensor, entropy: Tensor, grad_logp: Tensor, grad_entropy: Tensor
) -> Tensor:
    """g (p - onehot) + g_H p (log p + H) [r, c]; overwrites the scores."""
    slopes = tile.scores.sub_(normaliser[:, None])
    share = slopes.exp()
    slopes.add_(entropy[:, None]).mul_(grad_entropy[:, None]).add_(grad_logp[:, None]).mul_(share)
    return slopes.scatter_add_(1, tile.place, -(tile.inside * grad_logp)[:, None])


def _product_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:  # autocast never casts float64
        return torch.get_autocast_dtype(kind)
    return hidden.dtype


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in the dtype of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
