"""A policy small enough to enumerate: expectations over it are sums."""

from __future__ import annotations

from itertools import pairwise, product

import torch
from torch import Tensor

from hpt_core.types import Tokens

STOP, VOCABULARY, LONGEST = 0, 3, 2
TRAJECTORIES = [(STOP,), *product((1, 2), range(VOCABULARY))]
"""A trajectory ends with STOP or at two tokens."""
REWARD = dict(zip(TRAJECTORIES, (0.3, 1.0, 0.0, 0.2, 0.0, 0.7, 1.0), strict=True))
PAIRS = list(product(range(VOCABULARY), repeat=LONGEST))
"""All of two tokens, where nothing stops early."""


class TinyPolicy:
    """Logits of the first token, and of the second given the first."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        shape = (1 + VOCABULARY, VOCABULARY)
        self.logits = torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()

    def logp(self, trajectory: tuple[int, ...]) -> Tensor:
        """[T], 0 beyond the end."""
        table = self.logits.log_softmax(-1)
        steps = [table[0, trajectory[0]]] + [table[1 + a, b] for a, b in pairwise(trajectory)]
        return torch.stack(steps + [torch.zeros_like(steps[0])] * (LONGEST - len(steps)))

    def probability(self, trajectory: tuple[int, ...]) -> Tensor:
        return self.logp(trajectory).sum().exp()

    def chance(self, group: tuple[tuple[int, ...], ...]) -> Tensor:
        """That these are sampled, one after the other."""
        return torch.stack([self.probability(tau) for tau in group]).prod().detach()

    def gradient(self, scalar: Tensor) -> Tensor:
        return torch.autograd.grad(scalar, self.logits)[0]


def tokens(policy: TinyPolicy, rollouts, demonstrations=(), reward=REWARD, value=None) -> Tokens:
    """One prompt, on-policy."""
    rows = [*rollouts, *demonstrations]
    logp = torch.stack([policy.logp(row) for row in rows])
    return Tokens(
        logp,
        logp.detach(),
        torch.tensor([[t < len(row) for t in range(LONGEST)] for row in rows]),
        torch.tensor([reward[row] for row in rows], dtype=torch.float64),
        torch.zeros(len(rows), dtype=torch.int64),
        torch.tensor([i >= len(rollouts) for i in range(len(rows))]),
        value=None if value is None else torch.stack([value(row) for row in rows]),
    )
