"""Sums over the tokens of a step's micro-batches, from which its metrics are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hpt_core.trainer.batch import Row
from hpt_core.types import Tokens
from hpt_core.upge.regularise import Measured, k3


class Totals:
    """Named sums, of which every rank and mini-batch adds its own; 0 if never added."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, 0.0)

    def add(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.sums[name] += value

    def mean(self, name: str, over: str) -> float | None:
        """The ratio of two sums; None over nothing."""
        return self[name] / self[over] if self[over] else None


@torch.no_grad()
def observe(tokens: Tokens, members: Sequence[Row], clipped: Tensor, measured: Measured) -> dict[str, float]:
    """The sums of one micro-batch of `members`; `clipped` [B, T] bool."""
    assert tokens.entropy is not None
    rollout = tokens.mask & ~tokens.expert[:, None]
    log_ratio = (tokens.logp - tokens.logp_old)[rollout]
    sums = {
        "tokens_trained": int(tokens.mask.sum()),
        "tokens_rollout": int(rollout.sum()),
        "tokens_clipped": int(clipped.sum()),
        "ratio": float(log_ratio.exp().sum()),
        # KL(pi_old || pi_theta): it was pi_old that drew the tokens.
        "kl_old": float(k3(-log_ratio).sum()),
        "entropy": float(tokens.entropy[rollout].sum()),
    }
    if measured.logp_reference is not None:
        sums["kl_reference"] = float(k3((tokens.logp - measured.logp_reference)[rollout]).sum())
        sums["tokens_referred"] = sums["tokens_rollout"]
    if measured.returns is not None:
        sums["value_error"] = float(measured.value_error(clip=None)[rollout].sum())
        sums["tokens_valued"] = sums["tokens_rollout"]
    by_kind = Totals()
    nll = -(tokens.logp * tokens.mask).sum(1)
    for row, value in zip(members, nll.tolist(), strict=True):
        if row.kind is not None:
            for name in (row.kind, f"source/{row.source}"):
                by_kind.add({f"nll/{name}": value, f"tokens/{name}": len(row.response), f"rows/{name}": 1})
    return {**sums, **by_kind.sums}
