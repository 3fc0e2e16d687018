"""The published methods as choices of the same parts. One entry each, proven in tests/parity."""

from __future__ import annotations

from functools import partial

from hpt_core.upge.advantage import everyone, group_mean_baseline, group_zscore, one, reward
from hpt_core.upge.aggregate import constant, prompt_mean, sequence_mean, sequence_sum, token_mean
from hpt_core.upge.estimator import Algorithm, Term
from hpt_core.upge.likelihood import shaped
from hpt_core.upge.mix import by_pass_rate
from hpt_core.upge.options import Options
from hpt_core.upge.reference import one as pi_ref_one
from hpt_core.upge.reference import pi_old, pi_theta, sequence
from hpt_core.upge.stable import clip, truncate

# Maximum likelihood of the demonstrations, averaged over all their tokens.
SFT = Algorithm(demonstrations=Term(pi_theta, one), aggregate=token_mean)

# Williams 1992 without a baseline: R * grad log pi(tau), averaged over trajectories.
REINFORCE = Algorithm(rollouts=Term(pi_theta, reward), aggregate=sequence_sum)

# DeepSeekMath, arXiv 2402.03300, eq. 3 without its KL, which stands outside the estimator.
GRPO = Algorithm(rollouts=Term(pi_old, group_zscore, clip), aggregate=sequence_mean)

# Understanding R1-Zero-like training, arXiv 2503.20783, section 3.2: neither the std nor the row's length.
DR_GRPO = Algorithm(rollouts=Term(pi_old, group_mean_baseline, clip), aggregate=constant)

# DAPO, arXiv 2503.14476, eq. 8: clip-higher and token mean. Its dynamic sampling lies with the sampler, which
# must replace groups of equal rewards; those that come all the same are inactive, and count as tokens.
DAPO = Algorithm(
    rollouts=Term(pi_old, group_zscore, clip), aggregate=token_mean, options=Options(clip=(0.2, 0.28))
)

# MiniMax-M1, arXiv 2506.13585, eq. 4 and 5, as released: the weight is truncated and no token is lost.
# MiniMax trained without a lower bound, which is clip=(1.0, epsilon_high).
CISPO = Algorithm(rollouts=Term(pi_old, group_zscore, truncate), aggregate=token_mean)

# CISPO as the table of arXiv 2509.04419 writes it: a mask on the same weight.
CISPO_MASK = Algorithm(rollouts=Term(pi_old, group_zscore, clip), aggregate=token_mean)

# GSPO, arXiv 2507.18071, eq. 5 to 7. The paper trained with clip=(3e-4, 4e-4) (section 5.1).
GSPO = Algorithm(rollouts=Term(sequence, group_zscore, clip), aggregate=sequence_mean)

# LUFFY, arXiv 2504.14945: mixed-policy GRPO, 1/Z being all tokens, with policy shaping. Its released
# scripts also drop the std, the clip and the token mean, as Dr.GRPO does.
LUFFY = Algorithm(
    rollouts=Term(pi_old, partial(group_zscore, over=everyone), clip),
    demonstrations=Term(pi_ref_one, partial(group_zscore, over=everyone), likelihood=shaped),
    aggregate=token_mean,
)

# HPT, arXiv 2509.04419, section 3.3: alpha * (Dr.GRPO without clip) + beta * SFT, prompt by prompt.
HPT = Algorithm(
    rollouts=Term(pi_old, group_mean_baseline),
    demonstrations=Term(pi_theta, one),
    mix=by_pass_rate,
    aggregate=prompt_mean,
)

ALGORITHMS: dict[str, Algorithm] = {
    "sft": SFT,
    "reinforce": REINFORCE,
    "grpo": GRPO,
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "cispo": CISPO,
    "cispo_mask": CISPO_MASK,
    "gspo": GSPO,
    "luffy": LUFFY,
    "hpt": HPT,
}


def algorithm(name: str) -> Algorithm:
    """The entry of that name. Raises ValueError that names the known ones."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; choose one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
