"""Sampling of one token for each row of logits, with its log-probability."""

from __future__ import annotations

import torch
from torch import Tensor

from hpt_core.config import Sampling

HEAD = 512
"""Number of most likely tokens among which the nucleus is searched first. Sorting a vocabulary of 49,000
takes longer than the model's forward pass, and a few hundred tokens usually hold the mass."""


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens [B] by inverse transform of `uniform` [B] in [0, 1), and their log-probabilities [B].

    The log-probability is that of the distribution at the sampling temperature, before top-p cuts its tail,
    because the loss uses that distribution. Temperature 0 takes the most likely token. NaN logits give NaN.
    """
    if sampling.temperature == 0:
        logprobs = logits.log_softmax(-1)
        token = logits.argmax(-1)
    else:
        logprobs = (logits / sampling.temperature).log_softmax(-1)
        cdf = _nucleus(logprobs.double().exp(), sampling.top_p).cumsum(-1)
        # A uniform close to 1 may round up to the total mass, which is past the last token with any mass.
        target = (uniform[:, None] * cdf[:, -1:]).minimum(
            torch.nextafter(cdf[:, -1:], torch.zeros_like(cdf[:, -1:]))
        )
        token = torch.searchsorted(cdf, target, right=True).squeeze(1)
        token = token.clamp(max=logits.shape[-1] - 1)  # NaN logits are found past the end
    return token, logprobs.gather(1, token[:, None]).squeeze(1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Set to 0 all but the smallest set of tokens that holds `top_p` of the mass (Holtzman et al. 2020)."""
    if top_p == 1.0:
        return probabilities
    if probabilities.shape[-1] <= HEAD:
        return _cut(probabilities, *_sorted(probabilities), top_p)
    ordered, index = probabilities.topk(HEAD, dim=-1)
    kept = _cut(probabilities, ordered, index, top_p)
    needs_sort = ordered.sum(-1) < top_p
    if needs_sort.any():
        kept[needs_sort] = _cut(probabilities[needs_sort], *_sorted(probabilities[needs_sort]), top_p)
    return kept


def _sorted(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    return ordered, index


def _cut(probabilities: Tensor, ordered: Tensor, index: Tensor, top_p: float) -> Tensor:
    """`probabilities` [B, V] of the first tokens of `ordered` [B, K] up to `top_p`; 0 for all others."""
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(1, index, ordered * (before < top_p))


def uniforms(seeds: list[int], count: int) -> Tensor:
    """[B, count] in [0, 1), each row from its own seed."""
    return torch.stack(
        [
            torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    )
