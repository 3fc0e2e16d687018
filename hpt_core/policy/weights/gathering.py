"""Whole tensors of a sharded model, of which each rank holds consecutive rows (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.distributed import all_gather
from torch.distributed.tensor import DTensor, Shard

BUCKET = 2**24
"""Bytes up to which tensors are gathered in one exchange. A larger tensor has its own."""


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself; a sharded one is gathered from all ranks, which must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def full_tensors(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Each name with its `full_tensor`, in the same order; neighbours are gathered together (`BUCKET`).

    An exchange of a small tensor takes as long as one of a larger tensor: one by one, norms and biases would
    take longer than the matrices. All ranks must exhaust the iterator.
    """
    bucket: dict[str, DTensor] = {}
    for name, tensor in tensors:
        if bucket and not _fits(tensor, bucket):
            yield from _gathered(bucket)
            bucket = {}
        if isinstance(tensor, DTensor) and tensor.placements == (Shard(0),):
            bucket[name] = tensor
        else:
            yield name, full_tensor(tensor)
    yield from _gathered(bucket)


def padded_rows(tensor: Tensor, count: int) -> Tensor:
    """The tensor with rows of zeros behind its own, `count` in all."""
    return torch.cat([tensor, tensor.new_zeros(count - len(tensor), *tensor.shape[1:])])


def rows_of_rank(tensor: Tensor, ranks: int) -> int:
    """Rows of a tensor that the first of so many ranks has; the last ones may have fewer."""
    return -(-len(tensor) // ranks)


def _fits(tensor: Tensor, bucket: dict[str, DTensor]) -> bool:
    first = next(iter(bucket.values()))
    same = isinstance(tensor, DTensor) and tensor.placements == first.placements
    size = tensor.nbytes + sum(each.nbytes for each in bucket.values())
    return same and tensor.dtype == first.dtype and size <= BUCKET


def _gathered(bucket: dict[str, DTensor]) -> Iterator[tuple[str, Tensor]]:
    """The whole tensors, in one exchange."""
    if len(bucket) < 2:
        yield from ((name, full_tensor(tensor)) for name, tensor in bucket.items())
        return
    ranks = next(iter(bucket.values())).device_mesh.get_group()
    parts = [padded_rows(each.to_local(), rows_of_rank(each, ranks.size())) for each in bucket.values()]
    own = torch.cat([part.flatten() for part in parts])
    of_ranks = own.new_empty(ranks.size(), len(own))
    all_gather(list(of_ranks), own, ranks)
    pieces = torch.split(of_ranks, [part.numel() for part in parts], dim=1)
    for (name, tensor), piece in zip(bucket.items(), pieces, strict=True):
        # `cat` copies, so that a tensor that is kept does not keep the whole bucket.
        yield name, torch.cat(list(piece)).view(-1, *tensor.shape[1:])[: len(tensor)]
