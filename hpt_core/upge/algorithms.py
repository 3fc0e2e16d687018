"""The published methods as choices of the same parts, one entry each; tests/parity proves each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hpt_core.upge.advantage import (
    all_rows,
    gae,
    group_mean_baseline,
    group_zscore,
    leave_one_out,
    one,
    over_pass_rate,
    reward,
    sign,
)
from hpt_core.upge.aggregate import constant, jointly, prompt_mean, sequence_mean, sequence_sum, token_mean
from hpt_core.upge.estimator import Algorithm, Term
from hpt_core.upge.likelihood import chord_phi_slope, shaped
from hpt_core.upge.mix import by_pass_rate, by_schedule, imitating
from hpt_core.upge.options import Options
from hpt_core.upge.reference import geometric, mixture, pi_old, pi_theta, product, sequence, trust_region
from hpt_core.upge.reference import one as pi_ref_one
from hpt_core.upge.stable import (
    always,
    clip,
    clip_each,
    rl_plus_exploration,
    sapo_sigmoid,
    srft_exp_entropy,
    srft_exp_neg_entropy,
    truncate,
)

# Maximum likelihood of the demonstrations, averaged over all their tokens.
IMITATION = Term(pi_theta, one, aggregate=token_mean)
SFT = Algorithm(demonstrations=IMITATION)

# DFT, arXiv 2508.05629: each token of a demonstration weighs its own probability.
DFT = Algorithm(demonstrations=Term(pi_ref_one, one, aggregate=token_mean))

# PSFT, arXiv 2508.17784: PPO's clip on demonstrations, where A = 1, with the released clip.
PSFT = Algorithm(
    demonstrations=Term(pi_old, one, clip, aggregate=token_mean),
    options=Options(clip=(0.2, 0.28)),
    needs=frozenset({"old_demonstrations"}),
)

# TrSFT, the imitation of TRAPO, arXiv 2512.17636: a token weighs pi / max(pi, 0.1).
TRSFT = Algorithm(demonstrations=Term(trust_region, one, aggregate=token_mean))

# Williams 1992 without a baseline: R * grad log pi(tau), averaged over trajectories.
REINFORCE = Algorithm(rollouts=Term(pi_theta, reward, aggregate=sequence_sum))

# RLOO, arXiv 2402.14740: REINFORCE with the other rollouts of the prompt as the baseline.
RLOO = Algorithm(rollouts=Term(pi_theta, leave_one_out, aggregate=sequence_sum))

# RLOO as libraries release it, which agree with the paper where the policy is the old one. verl: PPO's clip
# of each token. TRL: PPO's clip of the ratio of the whole row.
RLOO_VERL = Algorithm(rollouts=Term(pi_old, leave_one_out, clip, aggregate=token_mean))
RLOO_TRL = Algorithm(rollouts=Term(product, leave_one_out, clip, aggregate=sequence_sum))

# PPO, arXiv 1707.06347, eq. 7 and 11. Its value loss stands outside the estimator (regularise.py).
PPO = Algorithm(rollouts=Term(pi_old, gae, clip, aggregate=token_mean), needs=frozenset({"value"}))

# DeepSeekMath, arXiv 2402.03300, eq. 3 without its KL, which stands outside the estimator.
GRPO = Algorithm(rollouts=Term(pi_old, group_zscore, clip, aggregate=sequence_mean))

# Understanding R1-Zero-like training, arXiv 2503.20783: neither the std nor the length divides.
DR_GRPO = Algorithm(rollouts=Term(pi_old, group_mean_baseline, clip, aggregate=constant))

# DAPO, arXiv 2503.14476, eq. 8. Its penalty for long responses is the option `overlong_buffer`. Its dynamic
# sampling replaces groups of equal rewards while it samples, which is no part of the estimator: the trainer
# does it (train.dynamic_sampling). Without it such groups are inactive, and their tokens count in the mean.
DAPO = Algorithm(
    rollouts=Term(pi_old, group_zscore, clip, aggregate=token_mean), options=Options(clip=(0.2, 0.28))
)

# MiniMax-M1, arXiv 2506.13585, eq. 4 and 5, as released: the weight is truncated and no token is lost.
# MiniMax trained without a lower bound, which is clip=(1.0, epsilon_high).
CISPO = Algorithm(rollouts=Term(pi_old, group_zscore, truncate, aggregate=token_mean))

# CISPO as TRL and ScaleRL (arXiv 2510.13786) have it: an upper bound of 5 on the weight, and no lower one.
CISPO_TRL = replace(CISPO, options=Options(clip=(1.0, 4.0)))

# CISPO as the table of arXiv 2509.04419 writes it: a mask on the same weight.
CISPO_MASK = Algorithm(rollouts=Term(pi_old, group_zscore, clip, aggregate=token_mean))

# GSPO, arXiv 2507.18071, eq. 5 to 7, with PPO's clip; the paper's own is section 5.1's.
GSPO = Algorithm(rollouts=Term(sequence, group_zscore, clip, aggregate=sequence_mean))
GSPO_PAPER = replace(GSPO, options=Options(clip=(3e-4, 4e-4)))

# GMPO, arXiv 2507.20673: the geometric mean of the token ratios, each clipped before the mean.
GMPO = Algorithm(
    rollouts=Term(geometric, group_zscore, clip_each, aggregate=sequence_mean), options=Options(clip=0.4)
)

# SAPO, arXiv 2511.20347: a smooth gate on the ratio in place of the clip.
SAPO = Algorithm(rollouts=Term(pi_old, group_zscore, sapo_sigmoid, aggregate=sequence_mean))

# MaxRL, arXiv 2602.02710: the policy gradient of log P, trained as released with PPO's clip.
MAXRL = Algorithm(rollouts=Term(pi_old, over_pass_rate, clip, aggregate=token_mean))

# LUFFY, arXiv 2504.14945: mixed-policy GRPO, 1/Z being all tokens, with policy shaping.
_OVER_BOTH = partial(group_zscore, over=all_rows)
LUFFY = Algorithm(
    rollouts=Term(pi_old, _OVER_BOTH, clip, aggregate=jointly(token_mean)),
    offline=Term(pi_ref_one, _OVER_BOTH, always, shaped, aggregate=jointly(token_mean)),
)

# LUFFY as its released scripts train: without the std, the clip and the token mean, as Dr.GRPO.
_MEAN_OVER_BOTH = partial(group_mean_baseline, over=all_rows)
_SCRIPT_OFFLINE = Term(pi_ref_one, _MEAN_OVER_BOTH, always, shaped, aggregate=jointly(constant))
LUFFY_SCRIPT = Algorithm(
    rollouts=Term(pi_old, _MEAN_OVER_BOTH, aggregate=jointly(constant)), offline=_SCRIPT_OFFLINE
)

# RL-PLUS, arXiv 2508.00222, as released: neither clip nor std, demonstrations by multiple importance
# sampling, and more for tokens that are unlikely under the policy.
RL_PLUS = Algorithm(
    rollouts=Term(pi_old, _MEAN_OVER_BOTH, aggregate=jointly(constant)),
    offline=Term(mixture, _MEAN_OVER_BOTH, rl_plus_exploration, aggregate=jointly(constant)),
    needs=frozenset({"old_demonstrations"}),
)

# SRFT, arXiv 2506.19767: entropy-weighted imitation, RL on demonstrations with pi_ref = 1, and signed
# rollouts. The paper leaves open the level of H and the denominators. Here they are those of the code of
# arXiv 2509.04419: H of a row, imitation over its tokens, RL over rows x L.
SRFT = Algorithm(
    rollouts=Term(pi_theta, sign, srft_exp_entropy, aggregate=jointly(constant)),
    demonstrations=Term(pi_theta, one, srft_exp_neg_entropy, aggregate=token_mean),
    offline=Term(pi_ref_one, _OVER_BOTH, aggregate=jointly(constant)),
)

# SRFT as the script of HPT's authors trains it: RL on demonstrations without the std, and with LUFFY's
# shaping.
SRFT_SCRIPT = replace(SRFT, offline=_SCRIPT_OFFLINE)

# CHORD, arXiv 2508.11408: (1 - mu) GRPO + mu SFT along a schedule; with phi, SFT weighs p (1 - p).
CHORD = Algorithm(
    rollouts=Term(pi_old, group_zscore, clip, aggregate=token_mean),
    demonstrations=IMITATION,
    mix=by_schedule,
)
CHORD_PHI = replace(
    CHORD, demonstrations=Term(pi_ref_one, one, always, chord_phi_slope, aggregate=token_mean)
)

# ReLIFT, arXiv 2506.07527: RL, and from time to time imitation of prompts that no rollout solved. The
# trainer's buffer decides when. The RL of its later release has no std and a higher upper clip, that of its
# first neither a clip nor a token mean.
RELIFT = Algorithm(
    rollouts=Term(pi_old, group_mean_baseline, clip, aggregate=token_mean),
    demonstrations=IMITATION,
    options=Options(clip=(0.2, 0.28)),
    needs=frozenset({"buffer"}),
)

RELIFT_FIRST = replace(
    RELIFT, rollouts=Term(pi_old, group_mean_baseline, aggregate=constant), options=Options()
)

# UFT, arXiv 2505.16984: rollouts continue a hint, and the hint's tokens are imitated with weight beta.
UFT = Algorithm(
    rollouts=Term(pi_old, group_zscore, clip, aggregate=token_mean),
    demonstrations=IMITATION,
    mix=imitating,
    options=Options(sft_coefficient=0.001),
    needs=frozenset({"hint"}),
)

# TRAPO, arXiv 2512.17636, as its released script trains: RL without the std and the clip and TrSFT, one sum
# over tokens by L. Its prefixes of a demonstration, as long as a prompt needs, are whole demonstrations here.
TRAPO = Algorithm(
    rollouts=Term(pi_old, group_mean_baseline, aggregate=jointly(constant)),
    demonstrations=Term(trust_region, one, aggregate=jointly(constant)),
)

# HPT, arXiv 2509.04419, section 3.3: alpha * (Dr.GRPO without clip) + beta * SFT, prompt by prompt.
# RL on the demonstration has a weight in the soft gate alone: LUFFY's shaping, and its own reward as A.
HPT = Algorithm(
    rollouts=Term(pi_old, group_mean_baseline, aggregate=prompt_mean),
    demonstrations=Term(pi_theta, one, aggregate=prompt_mean),
    offline=Term(pi_ref_one, reward, always, shaped, aggregate=prompt_mean),
    mix=by_pass_rate,
)

ALGORITHMS: dict[str, Algorithm] = {
    "sft": SFT,
    "dft": DFT,
    "psft": PSFT,
    "trsft": TRSFT,
    "reinforce": REINFORCE,
    "rloo": RLOO,
    "rloo_verl": RLOO_VERL,
    "rloo_trl": RLOO_TRL,
    "ppo": PPO,
    "grpo": GRPO,
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "cispo": CISPO,
    "cispo_trl": CISPO_TRL,
    "cispo_mask": CISPO_MASK,
    "gspo": GSPO,
    "gspo_paper": GSPO_PAPER,
    "gmpo": GMPO,
    "sapo": SAPO,
    "maxrl": MAXRL,
    "luffy": LUFFY,
    "luffy_script": LUFFY_SCRIPT,
    "rl_plus": RL_PLUS,
    "srft": SRFT,
    "srft_script": SRFT_SCRIPT,
    "chord": CHORD,
    "chord_phi": CHORD_PHI,
    "relift": RELIFT,
    "relift_first": RELIFT_FIRST,
    "uft": UFT,
    "trapo": TRAPO,
    "hpt": HPT,
}


def algorithm(name: str) -> Algorithm:
    """The entry of that name. Raises ValueError that names the known ones."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; choose one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
