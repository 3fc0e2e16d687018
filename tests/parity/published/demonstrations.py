"""Published surrogates of the methods that train on demonstrations alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hpt_core.types import Tokens
from published.rows import demonstrations, logp, ppo_clip, ratio


def sft(batch: Tokens) -> Tensor:
    """Mean negative log-likelihood of the demonstrations' tokens."""
    return -torch.cat([logp(batch, i) for i in demonstrations(batch)]).mean()


def dft(batch: Tokens) -> Tensor:
    """arXiv 2508.05629: sg(p) log p, the mean over the demonstrations' tokens."""
    terms = [logp(batch, i).exp().detach() * logp(batch, i) for i in demonstrations(batch)]
    return -torch.cat(terms).mean()


def psft(batch: Tokens) -> Tensor:
    """arXiv 2508.17784: PPO's clip, 0.2 and 0.28 as released, at A = 1; the mean over all tokens."""
    terms = [ppo_clip(ratio(batch, i), 1.0, 0.2, 0.28) for i in demonstrations(batch)]
    return -torch.cat(terms).mean()


def trsft(batch: Tokens) -> Tensor:
    """arXiv 2512.17636, TrSFT as released (`off_policy_reshape` clip_low): p / max(sg p, 0.1), at A = 1."""
    return -torch.cat([trusted(batch, i) for i in demonstrations(batch)]).mean()


def trusted(batch: Tokens, i: int) -> Tensor:
    """TrSFT's objective of each token of a row."""
    p = logp(batch, i).exp()
    return p / p.detach().clamp(min=0.1)
