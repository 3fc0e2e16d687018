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
    "reinforce": rollouts.reinforce,
    "rloo": rollouts.rloo,
    "ppo": rollouts.ppo,
    "grpo": rollouts.grpo,
    "dr_grpo": rollouts.dr_grpo,
    "dapo": rollouts.dapo,
    "cispo": rollouts.cispo,
    "cispo_mask": rollouts.cispo_mask,
    "gspo": rollouts.gspo,
    "gmpo": rollouts.gmpo,
    "sapo": rollouts.sapo,
    "maxrl": rollouts.maxrl,
    "luffy": mixed.luffy,
    "rl_plus": mixed.rl_plus,
    "srft": mixed.srft,
    "chord": mixed.chord,
    "chord_phi": mixed.chord_phi,
    "relift": mixed.relift,
    "uft": mixed.uft,
    "hpt": mixed.hpt,
}
