"""Importance of rollouts between trainer and sampler: the weight of a token, and whole rows that are taken
out."""

from __future__ import annotations

import torch
from torch import Tensor

from hpt_core.types import Tokens
from hpt_core.upge.options import Options
from hpt_core.upge.reference import log_ratio, row_mean

# The ratio stays finite and positive in float32, so that a masked token gives 0 and never 0 * inf.
LOG_RATIO = (-80.0, 20.0)


def importance(tokens: Tokens, options: Options) -> Tensor:
    """min(pi_old / pi_sampler, cap) of the tokens of rollouts, [B, T]; 1 elsewhere, and without a cap.

    Truncated importance sampling (Ionides 2008, doi 10.1198/106186008X320456), here between the trainer and
    a sampler whose kernels differ. Raises ValueError if pi_sampler is unknown.
    """
    if options.importance_cap is None or tokens.expert.all():
        return torch.ones_like(tokens.logp)
    if tokens.logp_sampled is None:
        raise ValueError("importance_cap weighs by pi_sampler; give the sampler's own as logp_sampled")
    ratio = (tokens.logp_old - tokens.logp_sampled).clamp(*LOG_RATIO).exp()
    rollout = tokens.mask & ~tokens.expert[:, None]
    return torch.where(rollout, ratio.clamp(max=options.importance_cap), 1.0).detach()


def kept_rows(tokens: Tokens, options: Options) -> Tensor:
    """[B] bool, False for the rollouts that `sequence_mask` takes out of the update.

    A row is kept where low <= e^(mean of its log ratios) <= high, as SkyRL's geometric mask and verl's
    seq_mean_k1 have it, or with the sum in place of the mean. It counts in denominators all the same, as in
    SkyRL; verl takes it out of a mean over tokens. Raises ValueError if pi_sampler is asked for and unknown.
    """
    mask = options.sequence_mask
    if mask is None or tokens.expert.all():
        return torch.ones_like(tokens.expert)
    if mask.ratio == "sampler":
        if tokens.logp_sampled is None:
            raise ValueError("sequence_mask compares with pi_sampler; give the sampler's own as logp_sampled")
        log_ratios = tokens.logp_old - tokens.logp_sampled
    else:
        log_ratios = log_ratio(tokens)
    of_row = row_mean(log_ratios, tokens.mask)[:, 0]
    if mask.statistic == "product":
        of_row = of_row * tokens.mask.sum(1)
    ratio = of_row.clamp(*LOG_RATIO).exp()
    return tokens.expert | ((ratio >= mask.low) & (ratio <= mask.high))
