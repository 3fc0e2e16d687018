"""Muon, with the work of its orthogonal steps shared among the ranks of a sharded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import Work, gather, scatter
from torch.distributed.tensor import DTensor
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from hpt_core.policy.weights.gathering import BUCKET, padded_rows, rows_of_rank


class Muon(torch.optim.Muon):
    """torch's Muon, with bitwise the same steps when matrices are sharded.

    Momentum stays sharded. Of n ranks each gathers every nth matrix, computes its orthogonal step, and sends
    the others their rows; it holds a few copies of one matrix, or of several small ones (`BUCKET`). torch's
    own class would multiply shards in bfloat16 and add the products, which rounds differently for each number
    of ranks.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if not any(isinstance(p, DTensor) for group in self.param_groups for p in group["params"]):
            super().step()  # type: ignore[no-untyped-call]
            return
        for group in self.param_groups:
            for matrices in _rounds([p for p in group["params"] if p.grad is not None]):
                self._step(matrices, group)

    def _step(self, matrices: Sequence[DTensor], group: dict[str, Any]) -> None:
        """torch.optim._muon._single_tensor_muon with nesterov, for matrices that the ranks share."""
        ranks = matrices[0].device_mesh.get_group()
        count = ranks.size()
        mine = range(ranks.rank(), len(matrices), count)
        rows = [rows_of_rank(p, count) for p in matrices]
        averaged = [
            padded_rows(self._averaged(p, p.grad, group), n) for p, n in zip(matrices, rows, strict=True)
        ]
        whole = {i: averaged[i].new_empty(count * rows[i], *matrices[i].shape[1:]) for i in mine}
        _finish(
            gather(part, _parts(whole.get(i), rows[i]), group=ranks, group_dst=i % count, async_op=True)
            for i, part in enumerate(averaged)
        )
        received = [torch.empty_like(part, dtype=torch.bfloat16) for part in averaged]
        del averaged
        for i in mine:
            direction = _zeropower_via_newtonschulz(
                whole[i][: len(matrices[i])], group["ns_coefficients"], group["ns_steps"], group["eps"]
            )
            whole[i] = padded_rows(direction, count * rows[i])
        _finish(
            scatter(part, _parts(whole.get(i), rows[i]), group=ranks, group_src=i % count, async_op=True)
            for i, part in enumerate(received)
        )
        for p, direction in zip(matrices, received, strict=True):
            own, rate = p.to_local(), _adjust_lr(group["lr"], group["adjust_lr_fn"], p.shape)
            own.mul_(1 - group["lr"] * group["weight_decay"])
            own.add_(direction[: len(own)], alpha=-rate)

    def _averaged(self, p: DTensor, grad: Any, group: dict[str, Any]) -> Tensor:
        """This rank's rows of the gradient with momentum, which takes the gradient in."""
        state: dict[str, Any] = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        momentum: Tensor = state["momentum_buffer"].to_local()
        momentum.lerp_(grad.to_local(), 1 - group["momentum"])
        averaged: Tensor = grad.to_local().lerp(momentum, group["momentum"])
        return averaged


def _parts(whole: Tensor | None, rows: int) -> list[Tensor] | None:
    """The rows of each rank; None for a matrix of another rank."""
    return None if whole is None else list(torch.split(whole, rows))


def _rounds(matrices: Sequence[DTensor]) -> Iterator[list[DTensor]]:
    """Matrices that are gathered at the same time: one for each rank, or more while they are small."""
    some, size = list[DTensor](), 0
    for matrix in matrices:
        some.append(matrix)
        size += matrix.nbytes
        if size >= BUCKET and len(some) % matrix.device_mesh.size() == 0:
            yield some
            some, size = [], 0
    if some:
        yield some


def _finish(exchanges: Iterable[Work | None]) -> None:
    """Begin all of them, then wait for all of them."""
    for work in list(exchanges):
        assert work is not None
        work.wait()
