"""How much arithmetic a training step does, and how fast this machine could do it."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

SIDE = 1024
"""Of the square matrices that the machine's rate is measured on: large enough to keep every core busy."""


def flops(model: PreTrainedModel, lengths: Iterable[int]) -> float:
    """Of a forward and a backward pass over rows of these lengths, in floating-point operations.

    6 per matrix weight and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and causal attention
    of 6 x layers x hidden x length^2. Recomputation does not count: MFU is about useful work.
    """
    weights, layers, hidden = _shape(model)
    return sum(6.0 * weights * length + 6.0 * layers * hidden * length**2 for length in lengths)


def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product, the best of five."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b).sum().item()  # item waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * SIDE**3 / best


def _shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """(weights in matrices that every token is multiplied with, layers, hidden size)."""
    config = model.config
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    # Looking a token up multiplies nothing; a head that shares the embedding's weights does.
    looked_up = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return weights - looked_up, config.num_hidden_layers, config.hidden_size
