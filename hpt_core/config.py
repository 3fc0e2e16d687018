"""Typed parameters: frozen, unknown keys refused. Imports no torch, so that reading them is cheap."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


AlgorithmName = Literal[
    "sft", "reinforce", "grpo", "dr_grpo", "dapo", "cispo", "cispo_mask", "gspo", "luffy", "hpt"
]
"""The entries of `hpt_core.upge.ALGORITHMS`, named here because reading parameters imports no torch."""


class Config(BaseModel):
    """Base of every section: an unknown or ill-typed key raises with its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sampling(Config):
    """How a response is drawn."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive


class PromptSource(Config):
    """Where prompts come from: exactly one of `reasoning_gym`, `file` and `hub`."""

    name: str
    license: str = "unknown"
    answer_kind: str | None = None
    """Required for `file` and `hub`; a reasoning-gym task implies its own."""
    limit: Positive | None = None
    """At most this many rows, from the top."""

    reasoning_gym: str | None = None
    size: Positive | None = None
    seed: int | None = None
    options: dict[str, Any] = {}

    file: str | None = None
    """JSONL or parquet."""
    hub: str | None = None
    """Data set id, read through `datasets`."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: dict[str, str] = {}
    """Ours -> theirs: problem, answer."""

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSource:
        given = [key for key in ("reasoning_gym", "file", "hub") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"source {self.name!r}: give exactly one of reasoning_gym, file, hub; got {given}"
            )
        if self.reasoning_gym and (self.size is None or self.seed is None):
            raise ValueError(f"source {self.name!r}: a reasoning_gym task needs size and seed")
        if not self.reasoning_gym and self.answer_kind is None:
            raise ValueError(
                f"source {self.name!r}: name its answer_kind (math, gsm8k, choice, exact, reasoning_gym:NAME)"
            )
        return self


class ExpertSource(Config):
    """Where expert trajectories come from: a file, a hub data set, or code (`kind: program`)."""

    name: str
    kind: Literal["human", "teacher", "program"]
    author: str = "unknown"
    license: str = "unknown"
    file: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: dict[str, str] = {}
    """Ours -> theirs: problem, response and, optionally, keep (a boolean: the file's own mark).
    A dot reaches into an object: `175b_verification.solution`."""
    rewrite: list[Literal["gsm8k"]] = []
    """Named clean-ups of the response: gsm8k drops <<...>> and turns the answer line into a box."""

    @model_validator(mode="after")
    def _origin(self) -> ExpertSource:
        given = [key for key in ("file", "hub") if getattr(self, key)]
        if self.kind == "program" and given:
            raise ValueError(f"expert source {self.name!r}: code writes program trajectories; drop {given}")
        if self.kind != "program" and len(given) != 1:
            raise ValueError(f"expert source {self.name!r}: give exactly one of file, hub")
        return self


class OptimizerConfig(Config):
    """AdamW on everything, or Muon on the matrices and AdamW on the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: PositiveFloat
    """Of AdamW."""
    matrix_lr: PositiveFloat = 0.02
    """Of Muon."""
    betas: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.9, 0.95]
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


class GateConfig(Config):
    """alpha = 1[P > gamma], beta = 1[P <= gamma] (HPT, arXiv 2509.04419, section 3.3)."""

    gamma: Fraction = 0.0


class TrainConfig(Config):
    """One arm's training run."""

    algorithm: AlgorithmName = "hpt"
    gate: GateConfig = GateConfig()
    steps: Positive
    prompts_per_step: Positive
    updates_per_step: Positive = 1
    """Mini-batches that a step's prompts are cut into, one optimizer step each."""
    optimizer: OptimizerConfig
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """Last steps over which the learning rates fall to 0; the paper has none."""
    clip_norm: PositiveFloat = 1.0
    skip_norm: PositiveFloat | None = None
    """Skip the update when the gradient norm is above this; counted."""
    sft_coefficient: Annotated[float, Field(ge=0)] = 1.0
    entropy_coefficient: Annotated[float, Field(ge=0)] = 0.0
    autocast: Literal["float32", "bfloat16"] = "float32"
    microbatch_tokens: Positive = 16384
    """Upper bound on rows x padded length of one forward pass."""
    checkpoint_every: Positive = 20
    dev_every: Positive = 20


class EvaluateConfig(Config):
    """avg@k and pass@k on the benchmarks of `curate`."""

    samples: Positive
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    bootstrap: Positive = 2000


class VerifierConfig(Config):
    workers: Positive = 1
    timeout_s: PositiveFloat = 5.0
