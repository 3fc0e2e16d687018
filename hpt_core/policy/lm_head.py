"""log pi and entropy straight from hidden states and LM head: logits exist one tile at a time.

The logits of N tokens over a vocabulary of V are by far the largest tensor of a step. Here they are
computed in tiles, used and dropped, and computed again in the backward pass (as in Cut Cross-Entropy,
arXiv 2411.09009): one more matrix product, and memory that does not grow with N x V.
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

    On a CPU 8 MiB: a tile is gone through some ten times, which its cache makes cheap, and larger ones
    are returned to the system and faulted in anew each time. On a GPU 256 MiB: a kernel should outlast its
    launch. Half as many rows as columns: each row block reads the head's weights once more, each column
    block the hidden states.
    """
    size, most = (8 << 20, 1024) if device == "cpu" else (256 << 20, 4096)
    rows = max(1, min(count, most))
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

    hidden [N, d], weight [V, d], bias [V], target [N] int64. Products are in the type of autocast (or of
    the hidden states), everything else in float32, or float64 where the hidden states are. Gradients to
    hidden, weight and bias; through the entropy only with `entropy_gradient`.
    """
    found = _Head.apply(hidden, weight, bias, target, temperature, entropy_gradient)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], found)


class _Head(torch.autograd.Function):
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
        # Of the columns so far: the largest score m, the sum of exp(z - m), and that of (z - m) exp(z - m).
        top = hidden.new_full((len(hidden),), torch.finfo(wide).min, dtype=wide)
        total, moment, chosen = torch.zeros_like(top), torch.zeros_like(top), torch.zeros_like(top)
        for tile in _tiles(hidden.to(dtype), weight, bias, target, temperature):
            rows, scores = tile.rows, tile.scores
            chosen[rows] = torch.where(tile.inside, scores.gather(1, tile.place).squeeze(1), chosen[rows])
            higher = torch.maximum(top[rows], scores.amax(1))
            drop = top[rows] - higher
            scores.sub_(higher[:, None])
            share = scores.exp()
            moment[rows] = drop.exp() * (moment[rows] + drop * total[rows])
            total[rows] = drop.exp() * total[rows] + share.sum(1)
            moment[rows] += share.mul_(scores).sum(1)
            top[rows] = higher
        normaliser = top + total.log()
        # log Z - E[z], both seen from the largest score, so that nothing large cancels.
        entropy = total.log() - moment / total
        ctx.save_for_backward(hidden, weight, bias, target, normaliser, entropy)
        ctx.dtype, ctx.temperature, ctx.entropy_gradient = dtype, temperature, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return chosen - normaliser, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        """With s = d loss / d logits: s = [g (onehot - p) - g_H p (log p + H)] / temperature."""
        hidden, weight, bias, target, normaliser, entropy = ctx.saved_tensors
        to_hidden, to_weight, to_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.zeros_like(hidden, dtype=normaliser.dtype) if to_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=normaliser.dtype) if to_weight else None
        grad_bias = torch.zeros_like(bias, dtype=normaliser.dtype) if to_bias else None
        # s is a tile of slopes times a number per token, by which [N, d] is cheaper to multiply than a tile.
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
        # Autograd itself casts these to the types of what they belong to.
        return grad_hidden, grad_weight, grad_bias, None, None, None


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    scores: Tensor
    """[r, c], wide: tempered logits, to be overwritten."""
    weight: Tensor
    """[c, d], in the type of the products."""
    place: Tensor
    """[r, 1]: the target's column, where it is one of these."""
    inside: Tensor
    """[r] bool: whether it is."""


def _tiles(
    states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, temperature: float
) -> Iterator[_Tile]:
    """Every row of every column, column blocks outermost, so that the weights are cast once."""
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
            near = place.clamp(0, len(part) - 1)
            yield _Tile(rows, columns, scores, part, near[:, None], place == near)


def _logp_slopes(tile: _Tile, normaliser: Tensor) -> Tensor:
    """p - onehot [r, c], in place of the scores."""
    slopes = tile.scores.sub_(normaliser[:, None]).exp_()
    # Before the cast: of a token that is almost certain, p - 1 is all that there is to learn from.
    return slopes.scatter_add_(1, tile.place, -tile.inside.to(slopes.dtype)[:, None])


def _joint_slopes(
    tile: _Tile, normaliser: Tensor, entropy: Tensor, grad_logp: Tensor, grad_entropy: Tensor
) -> Tensor:
    """g (p - onehot) + g_H p (log p + H) [r, c], in place of the scores."""
    slopes = tile.scores.sub_(normaliser[:, None])
    share = slopes.exp()
    slopes.add_(entropy[:, None]).mul_(grad_entropy[:, None]).add_(grad_logp[:, None]).mul_(share)
    return slopes.scatter_add_(1, tile.place, -(tile.inside * grad_logp)[:, None])


def _product_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:  # autocast leaves float64 alone
        return torch.get_autocast_dtype(kind)
    return hidden.dtype


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in the type of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
