"""One training run: the method, its parts, and the step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpt_core import formula
from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat
from hpt_core.config.policy import OptimizerConfig

AlgorithmName = Literal[
    "sft",
    "dft",
    "psft",
    "reinforce",
    "rloo",
    "ppo",
    "grpo",
    "dr_grpo",
    "dapo",
    "cispo",
    "cispo_mask",
    "gspo",
    "gmpo",
    "sapo",
    "maxrl",
    "luffy",
    "rl_plus",
    "srft",
    "chord",
    "chord_phi",
    "relift",
    "uft",
    "hpt",
]
"""The entries of `hpt_core.upge.ALGORITHMS`, named here because reading parameters imports no torch."""


class GateConfig(Config):
    """How a prompt's pass rate P divides it between its rollouts and its demonstration.

    switch: alpha = 1[P > gamma], beta = 1[P <= gamma] (HPT, arXiv 2509.04419, section 3.3).
    soft: the table of its released code. formula: alpha, beta and offline as functions of P.
    """

    kind: Literal["switch", "soft", "formula"] = "switch"
    gamma: Fraction = 0.0
    alpha: str = "P > 0"
    """Weight of the rollouts."""
    beta: str = "P <= 0"
    """Weight of imitating the demonstration."""
    offline: str = "0"
    """Weight of RL on the demonstration."""

    @model_validator(mode="after")
    def _weights(self) -> GateConfig:
        for name in ("alpha", "beta", "offline"):
            weight = formula.parse(getattr(self, name))
            for eighths in range(9):
                try:
                    value = weight(eighths / 8)
                except ArithmeticError as error:
                    raise ValueError(f"{name} has no value at P = {eighths / 8}: {error}") from error
                if isinstance(value, complex) or not value >= 0:
                    raise ValueError(f"{name} is {value} at P = {eighths / 8}; a weight is never negative")
        return self


class MixSchedule(Config):
    """CHORD's mu: a linear rise from 0 over the warm-up, then half a cosine from peak to valley."""

    peak: Fraction
    valley: Fraction
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    decay_steps: Annotated[int, Field(ge=0)] = 0


class HintConfig(Config):
    """UFT: rollouts go on from a part of the demonstration that shrinks as training goes on."""

    slices: Positive = 5
    """A hint is a number of these, drawn from a binomial distribution."""
    high: Fraction = 0.95
    """Its chance of each slice at the first step; half a cosine leads to `low`."""
    low: Fraction = 0.05
    steps: Positive = 300
    """There are no hints after these."""


class KLConfig(Config):
    """coefficient x KL(policy || starting policy), on the rollouts that the gate keeps."""

    coefficient: Annotated[float, Field(ge=0)] = 0.0
    estimate: Literal["k1", "k2", "k3"] = "k3"


class ValueConfig(Config):
    """PPO's value head: a line on the policy's last hidden state."""

    coefficient: PositiveFloat = 0.1
    """Of (V - return)^2 / 2 in the loss that policy and head share."""
    clip: PositiveFloat | None = 0.5
    """How far V may move from its old value in the loss."""
    lr: PositiveFloat = 1e-4
    discount: Fraction = 1.0
    gae_lambda: Fraction = 1.0


class LoraConfig(Config):
    """Train low-rank adapters (arXiv 2106.09685) in place of the weights."""

    rank: Positive = 16
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: list[str] | Literal["all-linear"] = "all-linear"


class TrainConfig(Config):
    """One arm's training run."""

    algorithm: AlgorithmName = "hpt"
    gate: GateConfig = GateConfig()
    clip: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """[epsilon_low, epsilon_high] in place of the algorithm's own."""
    mu: MixSchedule | None = None
    """In place of the published schedule of chord and chord_phi."""
    sft_buffer: Positive = 64
    """ReLIFT: this many failed prompts make one step of imitation."""
    hint: HintConfig = HintConfig()
    """UFT."""
    value: ValueConfig = ValueConfig()
    """PPO."""
    kl: KLConfig = KLConfig()
    lora: LoraConfig | None = None
    difficulty: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    """[low, high]: only prompts with such a pass rate under the starting policy."""
    steps: Positive
    prompts_per_step: Positive
    updates_per_step: Positive = 1
    """Mini-batches that a step's prompts are cut into, one optimizer step each."""
    optimizer: OptimizerConfig
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """Last steps over which the learning rates fall to 0; the paper has none."""
    importance_cap: PositiveFloat | None = None
    """C of truncated importance sampling between trainer and sampler; none without."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Steps that the weights behind a rollout may lie back; older ones stop the run."""
    clip_norm: PositiveFloat = 1.0
    skip_norm: PositiveFloat | None = None
    """Skip the update when the gradient norm is above this; counted."""
    sft_coefficient: Annotated[float, Field(ge=0)] | None = None
    """Weight of a demonstration in hpt and uft; 1 and 0.001 as published."""
    entropy_coefficient: Annotated[float, Field(ge=0)] = 0.0
    autocast: Literal["float32", "bfloat16"] = "float32"
    microbatch_tokens: Positive = 16384
    """Upper bound on rows x padded length of one forward pass."""
    gradient_checkpointing: bool = False
    """Recompute the layers in the backward pass: less memory, a third more time."""
    ranks: Positive = 1
    """Processes on this machine that share the policy's weights (FSDP2)."""
    checkpoint_every: Positive = 20
    dev_every: Positive = 20
