"""Models: where they come from, how they are optimised, sampled and judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpt_core.config.base import Config, Positive, PositiveFloat
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


class RolloutConfig(Config):
    """How the policy is sampled, in the rollouts stage and in training."""

    engine: Literal["hf"] = "hf"
    group_size: Annotated[int, Field(ge=2)]
    temperature: PositiveFloat = 1.0
    max_prompt_tokens: Positive
    max_new_tokens: Positive
    slots: Positive = 256
    """Rows decoded at once."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the sampler's copy of the weights; the loss weighs by what it really sampled from."""

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_new_tokens=self.max_new_tokens)


class EvaluateConfig(Config):
    """avg@k and pass@k on the benchmarks of `curate`."""

    samples: Positive
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    bootstrap: Positive = 2000


class VerifierConfig(Config):
    workers: Positive = 1
    timeout_s: PositiveFloat = 5.0
