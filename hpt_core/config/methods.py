"""Names of the methods, and the options that only some of them read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Positive, PositiveFloat

AlgorithmName = Literal[
    "sft",
    "dft",
    "psft",
    "trsft",
    "reinforce",
    "rloo",
    "rloo_verl",
    "rloo_trl",
    "ppo",
    "grpo",
    "dr_grpo",
    "dapo",
    "cispo",
    "cispo_trl",
    "cispo_mask",
    "gspo",
    "gspo_paper",
    "gmpo",
    "sapo",
    "maxrl",
    "luffy",
    "luffy_script",
    "rl_plus",
    "srft",
    "srft_script",
    "chord",
    "chord_phi",
    "relift",
    "relift_first",
    "uft",
    "trapo",
    "hpt",
]
"""The entries of `hpt_core.upge.ALGORITHMS`, repeated because reading parameters must not import torch."""

IMITATING: frozenset[AlgorithmName] = frozenset({"sft", "dft", "psft", "trsft"})
"""Methods that sample no rollouts."""
CLIPPING: frozenset[AlgorithmName] = frozenset(
    {
        "rloo_verl",
        "rloo_trl",
        "ppo",
        "grpo",
        "dr_grpo",
        "dapo",
        "cispo_mask",
        "gspo",
        "gspo_paper",
        "maxrl",
        "luffy",
        "chord",
        "chord_phi",
        "relift",
        "uft",
    }
)
"""Methods with PPO's clip on rollouts."""
UNEQUAL: frozenset[AlgorithmName] = frozenset(
    {
        "rloo",
        "rloo_verl",
        "rloo_trl",
        "grpo",
        "dr_grpo",
        "dapo",
        "cispo",
        "cispo_trl",
        "cispo_mask",
        "gspo",
        "gspo_paper",
        "gmpo",
        "sapo",
        "maxrl",
    }
)
"""Methods of rollouts alone in which a group of equal rewards has no gradient."""
ROLLOUTS_ALONE: frozenset[AlgorithmName] = UNEQUAL | {"reinforce", "ppo"}
"""Methods that learn nothing from demonstrations."""
RATE_OF_ROLLOUTS_ALONE = 0.1
"""Share of `train.optimizer`'s rates with which a method of rollouts alone trains by default. At rates that
suit imitation and mixed methods its policy loses what it could do within a few hundred steps
(docs/algorithms.md has the runs)."""
_EVERY: frozenset[AlgorithmName] = frozenset(get_args(AlgorithmName))

READ_BY: dict[str, frozenset[AlgorithmName]] = {
    "clip_ratio_c": CLIPPING,
    "sequence_mask": _EVERY - IMITATING,
    # SRFT pushes by the sign of the reward and MaxRL divides by the pass rate, so neither may be moved.
    "overlong": _EVERY - IMITATING - {"srft", "srft_script", "maxrl"},
    "dynamic_sampling": UNEQUAL,
}
"""Option of `train` -> the methods that read it; for any other method it is refused."""


class ImportanceConfig(Config):
    """Importance sampling between trainer and sampler: a rollout weighs r = pi_old / pi_sampler, with pi_old
    computed by the trainer before the step. It corrects for a sampler with other kernels, and for rollouts of
    older weights. What weighs 0 counts in denominators all the same."""

    level: Literal["token", "sequence"] = "token"
    """token: r is each token's own. sequence: each token of a rollout has the product of all of them."""
    kind: Literal["truncate", "mask"] = "truncate"
    """truncate: the weight is min(r, high). mask: it is r within [low, high], and 0 outside."""
    low: PositiveFloat | None = None
    """Smallest r that a mask keeps; null: any. Truncation has no lower limit."""
    high: PositiveFloat = 2.0
    """Largest weight."""

    @field_validator("level", mode="before")
    @classmethod
    def _geometric_means_are_no_weights(cls, level: Any) -> Any:
        if level == "geometric":
            raise ValueError(
                "the geometric mean of a rollout's ratios is a measure and no weight; to take rollouts out "
                "by it write train.sequence_mask: {low: 0.99, high: 1.01}, alone or beside importance"
            )
        return level

    @model_validator(mode="after")
    def _limits_fit(self) -> ImportanceConfig:
        if self.kind == "truncate" and self.low is not None:
            raise ValueError("kind: truncate has no lower limit; remove low, or set kind: mask")
        if not (self.low or 0) <= 1 <= self.high:
            raise ValueError(
                f"[{self.low or 0}, {self.high}] leaves out 1, the ratio of equal policies; give "
                "low <= 1 <= high"
            )
        return self


class SequenceMaskConfig(Config):
    """Rollouts whose ratio lies outside of [low, high] have no gradient, as in SkyRL and verl's rollout
    correction. They count in denominators all the same."""

    ratio: Literal["sampler", "old"] = "sampler"
    """The ratio of a token. sampler: trainer over sampler, both before the update; old: the policy over the
    old policy."""
    statistic: Literal["geometric", "product"] = "geometric"
    """The ratio of a rollout: the geometric mean of those of its tokens, or their product."""
    low: PositiveFloat = 0.99
    """Smallest ratio of a rollout that is trained on."""
    high: PositiveFloat = 1.01
    """Largest ratio of a rollout that is trained on."""

    @model_validator(mode="after")
    def _one_is_inside(self) -> SequenceMaskConfig:
        if not self.low <= 1 <= self.high:
            raise ValueError(
                f"[{self.low}, {self.high}] leaves out 1, the ratio of equal policies; give low <= 1 <= high"
            )
        return self


class OverlongConfig(Config):
    """DAPO's soft punishment of long responses (arXiv 2503.14476, eq. 13): it is a part of the reward from
    which the advantage is computed, and none of the pass rate, of the gate or of the recorded reward."""

    buffer: Positive
    """Tokens before `rollout.max_new_tokens` over which the penalty rises from 0."""
    penalty: PositiveFloat = 0.5
    """Penalty at `rollout.max_new_tokens`, in units of the reward. Rewards are 1 and 0 here and 1 and -1 in
    DAPO, so that its penalty of 1 is 0.5 here."""


class DynamicSamplingConfig(Config):
    """DAPO's dynamic sampling (arXiv 2503.14476, section 3.2): prompts whose rollouts all have the same
    verdict are replaced by other prompts, until the step has `prompts_per_step` or the rounds are used up."""

    rounds: Annotated[int, Field(ge=2)] = 10
    """Most rounds of sampling in a step, the first included. After the last, the step trains on the prompts
    that it has."""
