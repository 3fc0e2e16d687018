"""Muon, with the work of its orthogonal steps shared among the ranks of a sharded model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import Work, gather, scatter
from torch.distributed.tensor import DTensor
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from hpt_core.policy.weights.gathering import padded_rows, rows_of_rank


class Muon(torch.optim.Muon):
    """torch's Muon, with bitwise the same steps when matrices are sharded.

    Momentum stays sharded. Of as many matrices as there are ranks each rank gathers one, computes its
    orthogonal step, and sends every other its rows. torch's own class would multiply shards in bfloat16 and
    add the products, which rounds differently for each number of ranks.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if not any(isinstance(p, DTensor) for group in self.param_groups for p in group["params"]):
            super().step()  # type: ignore[no-untyped-call]
            return
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            count = matrices[0].device_mesh.size() if matrices else 1
            for first in range(0, len(matrices), count):
                self._step(matrices[first : first + count], group)

    def _step(self, matrices: Sequence[DTensor], group: dict[str, Any]) -> None:
        """torch.optim._muon._single_tensor_muon with nesterov; rank i computes the step of matrix i."""
        ranks = matrices[0].device_mesh.get_group()
        count, mine = ranks.size(), ranks.rank()
        parts = [padded_rows(self._averaged(p, p.grad, group), rows_of_rank(p, count)) for p in matrices]
        computes = mine < len(matrices)
        gathered = [torch.empty_like(parts[mine]) for _ in range(count)] if computes else None
        _finish(
            gather(part, gathered if rank == mine else None, group=ranks, group_dst=rank, async_op=True)
            for rank, part in enumerate(parts)
        )
        own_directions: list[Tensor] | None = None
        if gathered is not None:
            direction = _zeropower_via_newtonschulz(
                torch.cat(gathered)[: len(matrices[mine])],
                group["ns_coefficients"],
                group["ns_steps"],
                group["eps"],
            )
            rows = len(parts[mine])
            own_directions = list(torch.split(padded_rows(direction, count * rows), rows))
        directions = [torch.empty_like(part, dtype=torch.bfloat16) for part in parts]
        _finish(
            scatter(
                received,
                own_directions if rank == mine else None,
                group=ranks,
                group_src=rank,
                async_op=True,
            )
            for rank, received in enumerate(directions)
        )
        for p, direction in zip(matrices, directions, strict=True):
            own, rate = p.to_local(), _adjust_lr(group["lr"], group["adjust_lr_fn"], p.shape)
            own.mul_(1 - group["lr"] * group["weight_decay"])
            own.add_(direction[: len(own)], alpha=-rate)

    def _averaged(self, p: DTensor, grad: Any, group: dict[str, Any]) -> Tensor:
        """This rank's rows of the gradient with momentum, which takes the gradient in."""
        momentum: Any = self.state[p].setdefault("momentum_buffer", torch.zeros_like(grad))
        momentum.to_local().lerp_(grad.to_local(), 1 - group["momentum"])
        averaged: Tensor = grad.to_local().lerp(momentum.to_local(), group["momentum"])
        return averaged


def _finish(exchanges: Iterable[Work | None]) -> None:
    """Begin all of them, then wait for all of them."""
    for work in list(exchanges):
        assert work is not None
        work.wait()
