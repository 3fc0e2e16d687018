"""Models: where they come from, how they are optimised, sampled and judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat, at
from hpt_core.config.data import PromptSource


class OptimizerConfig(Config):
    """AdamW on everything, or Muon on the matrices and AdamW on the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: PositiveFloat
    """Of AdamW."""
    matrix_lr: PositiveFloat = 0.02
    """Of Muon."""
    betas: list[float] = Field(default_factory=lambda: [0.9, 0.95], min_length=2, max_length=2)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class WarmStart(Config):
    """A small Llama built from nothing and taught worked solutions of easy problems."""

    hidden_size: Positive
    layers: Positive
    heads: Positive
    max_positions: Positive
    steps: Positive
    batch_size: Positive
    optimizer: OptimizerConfig
    sources: Annotated[list[PromptSource], Field(min_length=1)]


class Policy(Config):
    """A model: pretrained (hub id or local folder), or warm-started here."""

    model: str | None = None
    revision: str | None = None
    chat_template: str | None = None
    """A Jinja file, for a model that ships none."""
    system_prompt: str | None = None
    """Becomes a part of the saved chat template, so that the folder says all of what it is asked."""
    warm_start: WarmStart | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Policy:
        if (self.model is None) == (self.warm_start is None):
            raise ValueError("give exactly one of model (hub id or folder) and warm_start")
        return self


class Sampling(Config):
    """How a response is drawn."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive


class VLLMConfig(Config):
    """What vLLM may take for itself."""

    memory: Fraction = 0.4
    """Share of a GPU's memory for its weights and cache; it gives them back while the policy trains."""
    cpu_cache_gib: Positive = 2
    """Key-value cache without a GPU."""
    eager: bool = False
    """Without CUDA graphs: a faster start, slower sampling."""


class RolloutConfig(Config):
    """How the policy is sampled, in the rollouts stage and in training."""

    engine: Literal["hf", "vllm"] = "hf"
    """transformers, or vLLM, both in this process."""
    vllm: VLLMConfig = VLLMConfig()
    group_size: Annotated[int, Field(ge=2)]
    temperature: PositiveFloat = 1.0
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    slots: Positive = 256
    """Rows decoded at once."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the sampler's copy of the weights; the loss weighs by what it really sampled from."""

    @model_validator(mode="before")
    @classmethod
    def _whole_distribution(cls, given: Any) -> Any:
        for name in ("top_p", "top_k", "min_p"):
            if isinstance(given, dict) and name in given:
                raise at(
                    (name,),
                    "the loss means the whole distribution at rollout.temperature, and a sampler that cuts "
                    "it would bias every ratio; remove it (evaluate.top_p is for evaluation)",
                )
        return given

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_new_tokens=self.max_new_tokens)


class EvaluateConfig(Config):
    """avg@k and pass@k on the benchmarks of `curate`."""

    samples: int | dict[str, int] | None
    """Responses to each prompt: one number, a map from benchmark to number, or null for what
    `hpt_core.config.benchmarks` says is published. `Params.samples` has it for each benchmark."""
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    bootstrap: Positive = 2000

    @field_validator("samples", mode="before")
    @classmethod
    def _counts(cls, given: Any) -> Any:
        # One message for the three forms; pydantic's own has one for each that the value is not.
        counts = given.values() if isinstance(given, dict) else () if given is None else (given,)
        if given == {} or any(type(count) is not int or count < 1 for count in counts):
            raise ValueError(
                "give a whole number above 0, a map from benchmark to such numbers, or null for published"
            )
        return given


class VerifierConfig(Config):
    workers: Positive = 1
    timeout_s: PositiveFloat = 5.0
