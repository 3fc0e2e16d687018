"""One training run: the algorithm, its options, and the optimizer step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat, error_at
from hpt_core.config.methods import (
    READ_BY,
    ROLLOUTS_ALONE,
    ImportanceConfig,
)
from hpt_core.config.phases import ENDS, BudgetConfig, HealthConfig, MethodConfig, PhaseConfig, merged
from hpt_core.config.policy import OptimizerConfig, RolloutConfig

SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can make room for; adapters of a smaller rank fit as well."""


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


class TrainConfig(MethodConfig):
    """The training run of one arm."""

    phases: Annotated[list[PhaseConfig], Field(min_length=1)] | None = None
    """Phases that follow each other on one policy; null: the whole run is one. A phase is this section with
    its own keys in place of those here. It starts with new moments of the optimizer, and its warm-up,
    cool-down and schedules count its own steps."""
    budget: BudgetConfig = BudgetConfig()
    """What the run may spend besides its steps."""
    health: HealthConfig = HealthConfig()
    """When a run counts as one that collapses."""
    lora: LoraConfig | None = None
    """Low-rank adapters that are trained in place of the weights; null: all weights are trained."""
    difficulty: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    """[low, high] of the pass rate under the starting policy of prompts that are trained on; null: all."""
    steps: Positive
    """Training steps. A budget or the last phase may end the run before."""
    prompts_per_step: Positive
    """Prompts per step."""
    optimizer: OptimizerConfig
    """Optimizer of the policy."""
    importance: ImportanceConfig | None = None
    """Weights of rollouts by the ratio of trainer and sampler; null: every rollout weighs 1."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Steps that the weights behind a rollout may be old; older ones stop the run."""
    clip_norm: PositiveFloat = 1.0
    """Norm to which a larger gradient is scaled down; clipped updates are counted."""
    skip_norm: PositiveFloat | None = None
    """Gradient norm above which an update is skipped and counted; null: none is skipped."""
    autocast: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass: float32 or bfloat16."""
    microbatch_tokens: Positive = 16384
    """Bound on rows x padded length of one forward pass, in tokens. It changes memory and speed, not the
    gradient."""
    packing: bool = False
    """Several rows share a sequence, whose attention keeps them apart: little padding where lengths differ.
    It changes speed and memory, not the gradient."""
    gradient_checkpointing: bool = False
    """Recompute the layers in the backward pass: less memory, about a third more time."""
    ranks: Positive = 1
    """Processes on this machine that share the policy's weights (FSDP2)."""
    gathered_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which ranks gather a layer's weights while it computes, from shards in float32. bfloat16 takes
    half of that memory and traffic, and what passes between layers is bfloat16, too; gradients are summed in
    float32. It needs autocast: bfloat16 and rollout.dtype: bfloat16."""
    context_parallel: Positive = 1
    """Ranks that share each row. A rank computes a part of its tokens, and attention gathers the keys and
    values of all. It divides `train.ranks`; microbatch_tokens bounds what these ranks hold together. For
    models whose layers are all plain causal attention, without packing. It changes memory, not the
    gradient."""
    offload: Literal["none", "optimizer"] = "none"
    """What waits in host memory while the device does not need it. optimizer: the optimizer's moments, which
    go to the device and back with each update, one parameter's at a time. The weights are the same to the
    bit."""
    checkpoint_every: Positive = 20
    """Steps between checkpoints."""
    dev_every: Positive = 20
    """Steps between greedy evaluations on the dev set."""

    @property
    def per_phase(self) -> list[TrainConfig]:
        """The parameters of each phase; those of the run alone without phases."""
        if self.phases is None:
            return [self]
        alone = self.model_copy(update={"phases": None})
        return [merged(alone, phase) for phase in self.phases]

    @property
    def uses_demonstrations(self) -> bool:
        """Whether the method of any phase learns from demonstrations."""
        return any(phase.algorithm not in ROLLOUTS_ALONE for phase in self.per_phase)

    @property
    def located(self) -> list[tuple[tuple[str | int, ...], TrainConfig]]:
        """The parameters of each phase behind the place of its keys below `train`."""
        places = [()] if self.phases is None else [("phases", number) for number in range(len(self.phases))]
        return list(zip(places, self.per_phase, strict=True))

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and "importance_cap" in keys:
            cap = keys["importance_cap"]
            remedy = "remove it" if cap is None else f"write importance: {{high: {cap}}}"
            raise error_at(("importance_cap",), f"this key is a section of its own now; {remedy}")
        return keys

    @model_validator(mode="after")
    def _options_are_read(self) -> TrainConfig:
        for at, config in self.located:
            for option, methods in READ_BY.items():
                if getattr(config, option) is not None and config.algorithm not in methods:
                    raise error_at(
                        (*at, option),
                        f"{config.algorithm} does not read it; remove it, or choose one of "
                        f"{', '.join(sorted(methods))}",
                    )
        return self

    @model_validator(mode="after")
    def _every_phase_but_the_last_ends(self) -> TrainConfig:
        for number, phase in enumerate((self.phases or [])[:-1]):
            if not phase.ends:
                raise error_at(
                    ("phases", number, "until"),
                    "the next phase would never start; give until: plateau, a number of steps, or a mapping "
                    f"of {', '.join(ENDS)}, of which the first ends it",
                )
        return self


def served_adapters(train: TrainConfig, rollout: RolloutConfig) -> LoraConfig | None:
    """The adapters that vLLM adds while it computes; None where they are merged, or where there are none."""
    return train.lora if rollout.engine == "vllm" and rollout.vllm.lora else None
