"""Phases of a training run, and what ends a phase or a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from hpt_core.config.base import Config, Positive, PositiveFloat
from hpt_core.config.estimator import GateConfig, HintConfig, KLConfig, MixSchedule, ValueConfig
from hpt_core.config.methods import (
    RATE_OF_ROLLOUTS_ALONE,
    ROLLOUTS_ALONE,
    AlgorithmName,
    DynamicSamplingConfig,
    OverlongConfig,
    SequenceMaskConfig,
)
from hpt_core.config.policy import OptimizerConfig

Section = TypeVar("Section", bound=Config)


class BudgetConfig(Config):
    """Amounts of which the first that is spent is the end. docs/algorithms.md says how they are counted."""

    generated_tokens: Positive | None = None
    """Tokens that the policy samples; null: any number."""
    trained_tokens: Positive | None = None
    """Tokens of the rows with a gradient; null: any number."""
    flops: PositiveFloat | None = None
    """Floating-point operations of sampling and updates; null: any number."""


class HealthConfig(Config):
    """Warnings of a run that collapses, by rules that compare it with its own past (docs/algorithms.md)."""

    window: Annotated[int, Field(ge=2)] = 8
    """Steps whose mean is compared with that of as many earlier ones."""
    stop: bool = False
    """End the run with an error at the first warning."""


class PlateauConfig(Config):
    """A measure that no longer improves: `patience` measurements, one after another, were no better by more
    than `min_change` than the last improvement. The first measurement of the phase counts as one."""

    metric: Literal["nll", "accuracy"] = "nll"
    """nll: NLL in nats per token of demonstrations that are held out of training, a tenth of them and at most
    64. accuracy: greedy accuracy on the dev prompts, as often as `train.dev_every` says."""
    every: Positive = 10
    """Steps of the phase between two measurements of the NLL."""
    patience: Positive = 2
    """Measurements without an improvement that end the phase."""
    min_change: Annotated[float, Field(ge=0)] = 0.0
    """Smallest improvement that counts, in nats per token or as a share of the prompts."""


class UntilConfig(BudgetConfig):
    """The end of a phase, counted from its first step; the first that comes."""

    steps: Positive | None = None
    """Steps of the phase; null: any number."""
    plateau: PlateauConfig | None = None
    """A measure that no longer improves; null: none is watched."""


class MethodConfig(Config):
    """A method with its options and its schedule: what each phase of a run may set for itself."""

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
    rate_scale: PositiveFloat | None = None
    """Factor of the learning rates of `optimizer`; null: the method's own. That is 0.1 for methods that learn
    from rollouts alone, and 1 for all others."""
    updates_per_step: Positive = 1
    """Mini-batches that a step's prompts are divided into, with one optimizer step each."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps, over which the learning rates rise."""
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """Last steps, over which the learning rates fall to 0. The paper has none. Where a budget ends the run,
    they fall over the same share of the budget."""
    sequence_mask: SequenceMaskConfig | None = None
    """Rollouts that are taken out of an update by the ratio of two policies; null: none."""
    overlong: OverlongConfig | None = None
    """Penalty of responses that near `rollout.max_new_tokens`; null: none."""
    dynamic_sampling: DynamicSamplingConfig | None = None
    """Replacement of prompts without a signal; null: none. For methods of rollouts alone with a group
    baseline: the others train on such prompts, by a gate, a buffer, a demonstration or the sign of the
    reward."""
    sft_coefficient: Annotated[float, Field(ge=0)] | None = None
    """Weight of the demonstrations' loss in hpt and uft; null: the published 1 and 0.001."""
    entropy_coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the entropy bonus on rollouts; 0: none."""

    @property
    def scale_of_rates(self) -> float:
        """The factor of the learning rates of `optimizer`."""
        if self.rate_scale is not None:
            return self.rate_scale
        return RATE_OF_ROLLOUTS_ALONE if self.algorithm in ROLLOUTS_ALONE else 1.0


class PhaseConfig(MethodConfig):
    """A method with its own rates and length. Beside the keys below it has those of `train` from `algorithm`
    to `entropy_coefficient`. A key that is left out, in subsections too, has its value in `train`."""

    until: UntilConfig | None = None
    """What ends the phase: plateau, a number of steps, or a mapping. null, for the last phase: the end of the
    run."""
    prompts_per_step: Positive | None = None
    """Prompts per step; null: those of `train`."""
    optimizer: OptimizerConfig | None = None
    """Optimizer of the policy, with its learning rates; null: that of `train`."""

    @field_validator("until", mode="before")
    @classmethod
    def _short_forms(cls, until: Any) -> Any:
        if until == "plateau":
            return {"plateau": {}}
        if isinstance(until, str):
            raise ValueError(f"{until!r} is no end of a phase; give plateau, a number of steps, or a mapping")
        return {"steps": until} if type(until) is int else until

    @property
    def ends(self) -> bool:
        """Whether anything but the end of the run ends the phase."""
        return self.until is not None and any(getattr(self.until, name) is not None for name in ENDS)


ENDS = tuple(UntilConfig.model_fields)
"""What can end a phase."""


def merged(section: Section, changes: Config) -> Section:
    """`section` with the keys that `changes` gives, at every depth. Null for a required key is none."""
    keys = {}
    for name in changes.model_fields_set & type(section).model_fields.keys():
        before, value = getattr(section, name), getattr(changes, name)
        if isinstance(before, Config) and isinstance(value, Config):
            keys[name] = merged(before, value)
        elif value is not None or not type(section).model_fields[name].is_required():
            keys[name] = value
    return section.model_copy(update=keys)
