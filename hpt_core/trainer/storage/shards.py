"""Tensors in shards: a rank writes a file of those that it holds, and reads from all files what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

Index = Mapping[str, Mapping[str, Any]]
"""Tensor -> {"shape": of the whole, "shards": [{"file", "offset", "shape"}, ...]}; JSON can hold it."""


class Shard(NamedTuple):
    """A rectangular part of a tensor."""

    data: Tensor
    offset: tuple[int, ...]
    """Place of its first element in the whole tensor."""
    whole: tuple[int, ...]
    """Shape of the whole tensor."""


def shard_of(tensor: Tensor) -> Shard:
    """The part of `tensor` that this rank holds, which shares its memory."""
    if not isinstance(tensor, DTensor):
        return Shard(tensor.detach(), (0,) * tensor.ndim, tuple(tensor.shape))
    place = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Shard(tensor.to_local().detach(), tuple(place[1]), tuple(tensor.shape))


@torch.no_grad()
def copied_to_host(tensors: Iterable[tuple[str, Tensor]], *, main: bool) -> dict[str, Shard]:
    """Copies of this rank's shards in host memory. A tensor that all ranks hold whole is the main rank's."""
    copies = {}
    for name, tensor in tensors:
        shard = shard_of(tensor)
        mine = shard.data.numel() > 0 if isinstance(tensor, DTensor) else main
        if mine:
            host = torch.empty(shard.data.shape, dtype=shard.data.dtype).copy_(shard.data)
            copies[name] = shard._replace(data=host)
    return copies


def write(shards: Mapping[str, Shard], path: Path) -> dict[str, Any]:
    """Write the shards as safetensors; returns their part of the index."""
    save_file({name: shard.data for name, shard in shards.items()}, path)
    return {
        name: {
            "shape": shard.whole,
            "shards": [{"file": path.name, "offset": shard.offset, "shape": tuple(shard.data.shape)}],
        }
        for name, shard in shards.items()
    }


def joined(parts: Sequence[Index]) -> dict[str, dict[str, Any]]:
    """The index of the files of all ranks."""
    index: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, entry in part.items():
            whole = index.setdefault(name, {"shape": entry["shape"], "shards": []})
            whole["shards"] += entry["shards"]
    return index


class SavedTensors:
    """The tensors in the files of a folder, of which any part can be read. Files stay open in a `with`."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self._open, self._files = ExitStack(), dict[str, Any]()

    def __enter__(self) -> SavedTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.index if name.startswith(prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.index[name]["shape"])

    @torch.no_grad()
    def fill(self, target: Tensor, name: str) -> None:
        """Copy the tensor, or the part that this rank holds of it, into `target`, which has its shape."""
        mine, filled = shard_of(target), 0
        for saved in self.index[name]["shards"]:
            bounds = list(_overlaps(mine, saved["offset"], saved["shape"]))
            if all(begin < end for begin, end in bounds):
                part = self._read(saved["file"], name, _slices(bounds, saved["offset"]))
                mine.data[_slices(bounds, mine.offset)].copy_(part)
                filled += part.numel()
        assert filled == mine.data.numel(), f"{self.folder}: the shards of {name} leave a gap or overlap"

    def _read(self, file: str, name: str, part: tuple[slice, ...]) -> Tensor:
        if file not in self._files:
            opened = safe_open(self.folder / file, framework="pt")
            self._files[file] = self._open.enter_context(opened)
        # A tensor without dimensions has no slices.
        read = self._files[file].get_slice(name)[part] if part else self._files[file].get_tensor(name)
        assert isinstance(read, Tensor)
        return read


def _overlaps(mine: Shard, offset: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First index and end, by dimension of the whole tensor, of what two shards have in common."""
    for own, own_size, begin, size in zip(mine.offset, mine.data.shape, offset, shape, strict=True):
        yield max(own, begin), min(own + own_size, begin + size)


def _slices(bounds: Iterable[tuple[int, int]], offset: Sequence[int]) -> tuple[slice, ...]:
    """`bounds` within the shard that begins at `offset`."""
    return tuple(slice(begin - o, end - o) for (begin, end), o in zip(bounds, offset, strict=True))
