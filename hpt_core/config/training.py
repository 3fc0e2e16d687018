"""One training run: the algorithm, its options, and the optimizer step."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpt_core import formula
from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat, error_at
from hpt_core.config.methods import (
    READ_BY,
    AlgorithmName,
    DynamicSamplingConfig,
    OverlongConfig,
    SequenceMaskConfig,
)
from hpt_core.config.policy import OptimizerConfig

_CHECKED_GROUP = 128
"""Rollouts up to which every pass rate is checked; their number grows with the square."""


class GateConfig(Config):
    """How a prompt's pass rate P divides it between its rollouts and its demonstration.

    switch: alpha = 1[P > gamma], beta = 1[P <= gamma] (HPT, arXiv 2509.04419, section 3.3).
    soft, soft_released: the table of its released code. formula: alpha, beta and offline as functions of P.
    """

    kind: Literal["switch", "soft", "soft_released", "formula"] = "switch"
    """Kind of gate. switch divides at gamma. soft is the table of HPT's released code by rollouts solved of
    8; soft_released by rollouts solved of 7, as the release uses it, which counts the demonstration as one of
    the prompt's 8 rows. With another `rollout.group_size`, a row holds from its share of solved rollouts on.
    formula takes alpha, beta and offline."""
    gamma: Fraction = 0.0
    """P <= gamma trains on the demonstration, P > gamma on the rollouts; for `kind: switch`."""
    alpha: str = "P > 0"
    """Weight of the rollouts as a formula of P, for `kind: formula`. A formula has numbers, P, + - * / **,
    comparisons (1 or 0), and abs, min, max, exp, sqrt; its value is never negative."""
    beta: str = "P <= 0"
    """Weight of SFT on the demonstration as a formula of P, for `kind: formula`."""
    offline: str = "0"
    """Weight of RL on the demonstration as a formula of P, for `kind: formula`."""

    @model_validator(mode="after")
    def _weights_are_never_negative(self) -> GateConfig:
        self.check(group_size=8)
        return self

    def check(self, group_size: int) -> None:
        """Raise ValueError for a formula without a valid value at a pass rate of up to `group_size` rollouts.

        A rollout without a verdict is not counted, so that every k of n occurs with n <= group_size. Above
        `_CHECKED_GROUP` rollouts the check reads the rates of the whole group and of groups up to that size.
        """
        sizes = [group_size, *range(min(group_size - 1, _CHECKED_GROUP), 0, -1)]
        rates = {k / n: f"{k}/{n}" for n in sizes for k in range(n + 1)}
        for name in ("alpha", "beta", "offline"):
            weight = formula.parse(getattr(self, name))
            for rate, solved in sorted(rates.items()):
                at = f"P = {rate}" + ("" if rate in (0, 1) else f" ({solved} solved)")
                try:
                    value = weight(rate)
                except (ArithmeticError, TypeError) as error:  # TypeError: a comparison of sqrt(-1)
                    raise ValueError(f"{name} has no value at {at}: {error}") from error
                if isinstance(value, complex) or not 0 <= value < inf:
                    raise ValueError(f"{name} is {value} at {at}; a weight is a number and never negative")


class MixSchedule(Config):
    """CHORD's mu, the weight of the demonstrations: a linear rise from 0 to `peak`, then half a cosine down
    to `valley`."""

    peak: Fraction
    """Largest mu, reached after the warm-up."""
    valley: Fraction
    """Final mu, kept to the end of training."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which mu rises from 0 to `peak`."""
    decay_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which mu then falls from `peak` to `valley`."""


class HintConfig(Config):
    """UFT's hint: rollouts continue a part of the demonstration, which shrinks in the course of training."""

    slices: Positive = 5
    """Slices that a demonstration is cut into. The number of slices in a hint is drawn from a binomial
    distribution."""
    high: Fraction = 0.95
    """Probability of each slice at the first step; half a cosine leads from it to `low`."""
    low: Fraction = 0.05
    """Probability of each slice at the last step with hints."""
    steps: Positive = 300
    """Steps with hints; later steps have none."""


class KLConfig(Config):
    """The penalty coefficient x KL(policy || starting policy), on the rollouts that the gate keeps."""

    coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL penalty; 0: none."""
    estimate: Literal["k1", "k2", "k3", "k3_capped"] = "k3"
    """Estimator of the KL divergence per token. k3_capped is k3 as verl has it, at most 10 and without a
    gradient there."""


class ValueConfig(Config):
    """PPO's value head, a linear layer on the policy's last hidden state. Other algorithms ignore it."""

    coefficient: PositiveFloat = 0.1
    """Weight of the value loss (V - return)^2 / 2."""
    clip: PositiveFloat | None = 0.5
    """Largest move of V from its old value that the loss allows; null: any."""
    lr: PositiveFloat = 1e-4
    """Learning rate of the value head."""
    discount: Fraction = 1.0
    """Discount factor of the return per token."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation (GAE)."""


class LoraConfig(Config):
    """Low-rank adapters (LoRA, arXiv 2106.09685) that are trained in place of the weights. The saved model
    has them merged."""

    rank: Positive = 16
    """Rank of each adapter."""
    alpha: PositiveFloat = 32.0
    """Scale of the adapters: their product is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability on the adapters' input."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules with an adapter; all-linear: each linear layer but the LM head."""


class TrainConfig(Config):
    """The training run of one arm."""

    algorithm: AlgorithmName = "hpt"
    """Name of the algorithm; docs/algorithms.md describes each."""
    gate: GateConfig = GateConfig()
    """How the pass rate P of a prompt divides it between rollouts and demonstration, in the algorithm hpt."""
    clip: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """[epsilon_low, epsilon_high] of the ratio's clip; null: the algorithm's own."""
    clip_ratio_c: Annotated[float, Field(gt=1)] | None = None
    """c of the dual clip, for methods with PPO's clip; null: none. A token with a negative advantage has no
    gradient once its ratio is above c; in gspo and rloo_trl the ratio is that of the rollout. verl has 3 (but
    none in gspo), DAPO's script 10; TRL calls it delta."""
    mu: MixSchedule | None = None
    """Schedule of the weight of demonstrations in chord and chord_phi; null: the published schedule."""
    sft_buffer: Positive = 64
    """Failed prompts that make one SFT step, in the algorithm relift."""
    hint: HintConfig = HintConfig()
    """Hints from the demonstration, in the algorithm uft."""
    value: ValueConfig = ValueConfig()
    """Value head, in the algorithm ppo."""
    kl: KLConfig = KLConfig()
    """KL penalty towards the starting policy."""
    lora: LoraConfig | None = None
    """Low-rank adapters that are trained in place of the weights; null: all weights are trained."""
    difficulty: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    """[low, high] of the pass rate under the starting policy of prompts that are trained on; null: all."""
    steps: Positive
    """Training steps."""
    prompts_per_step: Positive
    """Prompts per step."""
    updates_per_step: Positive = 1
    """Mini-batches that a step's prompts are divided into, with one optimizer step each."""
    optimizer: OptimizerConfig
    """Optimizer of the policy."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps, over which the learning rates rise."""
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """Last steps, over which the learning rates fall to 0. The paper has none."""
    importance_cap: PositiveFloat | None = None
    """C of truncated importance sampling between trainer and sampler; null: no correction. Each token of a
    rollout is weighted by min(pi_old / pi_sampler, C), with pi_old computed by the trainer."""
    sequence_mask: SequenceMaskConfig | None = None
    """Rollouts that are taken out of an update by the ratio of two policies; null: none."""
    overlong: OverlongConfig | None = None
    """Penalty of responses that near `rollout.max_new_tokens`; null: none."""
    dynamic_sampling: DynamicSamplingConfig | None = None
    """Replacement of prompts without a signal; null: none. For methods of rollouts alone with a group
    baseline: the others train on such prompts, by a gate, a buffer, a demonstration or the sign of the
    reward."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Steps that the weights behind a rollout may be old; older ones stop the run."""
    clip_norm: PositiveFloat = 1.0
    """Norm to which a larger gradient is scaled down; clipped updates are counted."""
    skip_norm: PositiveFloat | None = None
    """Gradient norm above which an update is skipped and counted; null: none is skipped."""
    sft_coefficient: Annotated[float, Field(ge=0)] | None = None
    """Weight of the demonstrations' loss in hpt and uft; null: the published 1 and 0.001."""
    entropy_coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the entropy bonus on rollouts; 0: none."""
    autocast: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass: float32 or bfloat16."""
    microbatch_tokens: Positive = 16384
    """Bound on rows x padded length of one forward pass, in tokens. It changes memory and speed, not the
    gradient."""
    gradient_checkpointing: bool = False
    """Recompute the layers in the backward pass: less memory, about a third more time."""
    ranks: Positive = 1
    """Processes on this machine that share the policy's weights (FSDP2)."""
    checkpoint_every: Positive = 20
    """Steps between checkpoints."""
    dev_every: Positive = 20
    """Steps between greedy evaluations on the dev set."""

    @model_validator(mode="after")
    def _options_are_read(self) -> TrainConfig:
        for option, methods in READ_BY.items():
            if getattr(self, option) is not None and self.algorithm not in methods:
                raise error_at(
                    (option,),
                    f"{self.algorithm} does not read it; remove it, or choose one of "
                    f"{', '.join(sorted(methods))}",
                )
        return self
