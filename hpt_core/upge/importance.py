"""What corrects rollouts for the policy that sampled them: weights pi_old / pi_sampler of tokens or whole
rollouts, truncated or masked, and rollouts that are taken out.

pi_old is the trainer's own before the step, so that the ratio holds both a sampler's other kernels and, where
rollouts were drawn with older weights (`rollout.lag`), what the policy has learned since. A weight is a part
of the estimator's numerator. Denominators are those of the whole mini-batch, and count what weighs 0 too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpt_core.types import Tokens
from hpt_core.upge.options import Importance, Options
from hpt_core.upge.reference import log_ratio, row_mean

# The ratio stays finite and positive in float32, so that a masked token gives 0 and never 0 * inf.
LOG_RATIO = (-80.0, 20.0)


def correction(tokens: Tokens, options: Options) -> Tensor:
    """Factor of each token's weight in the estimator, [B, T]; 1 for demonstrations, and without an option."""
    return importance(tokens, options) * within_sequence_mask(tokens, options)[:, None]


def importance(tokens: Tokens, options: Options) -> Tensor:
    """The limited pi_old / pi_sampler of the tokens of rollouts, [B, T]; 1 elsewhere, and without the option.

    With r the ratio of a token, or the product of those of its rollout:

        truncate: min(r, high)                          mask: r where low <= r <= high, else 0

    Truncated importance sampling (TIS) is Ionides 2008, doi 10.1198/106186008X320456, for a sampler of other
    kernels Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", on
    tokens. Sequence TIS, and its masked form MIS, are Liu et al. 2025, "When Speed Kills Stability". A mask
    of tokens with both bounds is IcePop (Ring-1T, arXiv 2510.18855). Raises ValueError if pi_sampler is
    unknown.
    """
    limits = options.importance
    if limits is None or tokens.expert.all():
        return torch.ones_like(tokens.logp)
    rollout = tokens.mask & ~tokens.expert[:, None]
    log_ratios = _trainer_over_sampler(tokens, "importance")
    if limits.level == "sequence":
        log_ratios = log_ratios.masked_fill(~rollout, 0.0).sum(1, keepdim=True)
    ratio = log_ratios.clamp(*LOG_RATIO).exp()
    return torch.where(rollout, _limited(ratio, limits), 1.0).detach()


def within_sequence_mask(tokens: Tokens, options: Options) -> Tensor:
    """[B] bool, False for the rollouts that `sequence_mask` takes out of the update.

    A row is kept where low <= e^(mean of its log ratios) <= high, as SkyRL's geometric mask and verl's
    seq_mean_k1 have it, or with the sum in place of the mean. It counts in denominators all the same, as in
    SkyRL; verl takes it out of a mean over tokens. Raises ValueError if pi_sampler is asked for and unknown.
    """
    mask = options.sequence_mask
    if mask is None or tokens.expert.all():
        return torch.ones_like(tokens.expert)
    if mask.ratio == "sampler":
        log_ratios = _trainer_over_sampler(tokens, "sequence_mask")
    else:
        log_ratios = log_ratio(tokens)
    of_row = row_mean(log_ratios, tokens.mask)[:, 0]
    if mask.statistic == "product":
        of_row = of_row * tokens.mask.sum(1)
    ratio = of_row.clamp(*LOG_RATIO).exp()
    return tokens.expert | ((ratio >= mask.low) & (ratio <= mask.high))


def kept_rows(tokens: Tokens, options: Options) -> Tensor:
    """[B] bool, False for the rollouts of which no token has a weight."""
    counted = (correction(tokens, options) != 0) & tokens.mask
    return tokens.expert | counted.any(1)


def _limited(ratio: Tensor, limits: Importance) -> Tensor:
    if limits.kind == "truncate":
        return ratio.clamp(max=limits.high)
    return torch.where((ratio >= limits.low) & (ratio <= limits.high), ratio, 0.0)


def _trainer_over_sampler(tokens: Tokens, option: str) -> Tensor:
    """log(pi_old / pi_sampler) [B, T]."""
    if tokens.logp_sampled is None:
        raise ValueError(f"{option} compares with pi_sampler; give the sampler's own as logp_sampled")
    return tokens.logp_old - tokens.logp_sampled
