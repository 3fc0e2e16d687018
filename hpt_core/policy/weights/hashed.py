"""The weights of a model in one pass that names them: shards are gathered once for a push and its hash.

Adapters that are pushed without the weights that they belong to have a name that covers both.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from hpt_core.policy.weights.merged import named_weights


class HashedWeights:
    """Iterates once over the weights of a model, or a part of them; afterwards `name` names them.

    Each tensor has a sha256 of its own, and the name is a hash of these, so that threads of one process and
    the ranks of a sharded model share the work. Their numbers do not change it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        part: Callable[[PreTrainedModel], Iterable[tuple[str, Tensor]]] = named_weights,
        base: str = "",
    ) -> None:
        """`part` gives the tensors of `model`; `base` is the name of the weights that they are added to."""
        self.model, self.part, self.base = model, part, base
        self._name = ""

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """All ranks of a sharded model must exhaust it."""
        group = _group(self.model)
        index, count = (0, 1) if group is None else (group.rank(), group.size())
        threads = torch.get_num_threads()
        hashed: list[tuple[str, str]] = []
        waiting: deque[tuple[str, Future[str]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for position, (name, tensor) in enumerate(self.part(self.model)):
                if position % count == index:
                    waiting.append((name, pool.submit(_sha256, tensor)))
                    # A waiting tensor is not freed, and for a sharded model it is a copy.
                    if len(waiting) > threads:
                        hashed.append(_result(*waiting.popleft()))
                yield name, tensor
            hashed.extend(_result(*each) for each in waiting)
        if group is not None:
            parts: list[list[tuple[str, str]]] = [[] for _ in range(count)]
            torch.distributed.all_gather_object(parts, hashed, group)
            hashed = [each for part in parts for each in part]
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashed))
        lines += f"added to {self.base}\n" if self.base else ""
        self._name = hashlib.sha256(lines.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """16 hex digits of a sha256 over the names, types, shapes and bytes of all tensors, and over `base`.

        So equal names mean the same base and the same adapters. The same sum of other ones has another name.
        """
        assert self._name, "iterate over all weights first"
        return self._name


def weights_hash(model: PreTrainedModel) -> str:
    """The name of the model's weights. All ranks of a sharded model must call this."""
    weights = HashedWeights(model)
    for _ in weights:
        pass
    return weights.name


def _group(model: PreTrainedModel) -> ProcessGroup | None:
    """The ranks that share the model's weights; None where this process has all of them."""
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            return parameter.device_mesh.get_group()
    return None


@torch.no_grad()
def _sha256(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _result(name: str, digest: Future[str]) -> tuple[str, str]:
    return name, digest.result()
