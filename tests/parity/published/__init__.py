"""The published surrogate of every entry, written out plainly: what tests/parity measures against.

Each is a scalar to minimise, of a whole mini-batch, whose gradient in logp is taken by autograd; only
what the publication holds constant is detached.
"""

from __future__ import annotations

from published import demonstrations, mixed, rollouts
from published.rows import Surrogate

PUBLISHED: dict[str, Surrogate] = {
    "sft": demonstrations.sft,
    "dft": demonstrations.dft,
    "psft": demonstrations.psft,
    "trsft": demonstrations.trsft,
    "reinforce": rollouts.reinforce,
    "rloo": rollouts.rloo,
    "rloo_verl": rollouts.rloo_verl,
    "rloo_trl": rollouts.rloo_trl,
    "ppo": rollouts.ppo,
    "grpo": rollouts.grpo,
    "dr_grpo": rollouts.dr_grpo,
    "dapo": rollouts.dapo,
    "cispo": rollouts.cispo,
    "cispo_trl": rollouts.cispo_trl,
    "cispo_mask": rollouts.cispo_mask,
    "gspo": rollouts.gspo,
    "gspo_paper": rollouts.gspo_paper,
    "gmpo": rollouts.gmpo,
    "sapo": rollouts.sapo,
    "maxrl": rollouts.maxrl,
    "luffy": mixed.luffy,
    "luffy_script": mixed.luffy_script,
    "rl_plus": mixed.rl_plus,
    "srft": mixed.srft,
    "srft_script": mixed.srft_script,
    "chord": mixed.chord,
    "chord_phi": mixed.chord_phi,
    "relift": mixed.relift,
    "relift_first": mixed.relift_first,
    "uft": mixed.uft,
    "trapo": mixed.trapo,
    "hpt": mixed.hpt,
}
