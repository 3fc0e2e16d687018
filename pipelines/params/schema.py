"""The schema of params.yaml, `Params`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from hpt_core.config import (
    BENCHMARKS,
    ArmConfig,
    Config,
    CurateConfig,
    EvaluateConfig,
    ExpertsConfig,
    Policy,
    Positive,
    RolloutConfig,
    TeacherConfig,
    TrainConfig,
    VerifierConfig,
)
from hpt_core.config.base import error_at
from hpt_core.errors import InputError
from pipelines.params import yaml_errors
from pipelines.params.relations import RELATIONS
from pipelines.params.sections import (
    AlertsConfig,
    InboxConfig,
    PromotionConfig,
    RetentionConfig,
    ScheduleConfig,
    TrackingConfig,
)
from pipelines.paths import PARAMS

MARK = "# recipe:"
"""Start of the first line of params.yaml, which names the recipe and the overrides that wrote the file."""


class Params(Config):
    """All of params.yaml."""

    seed: int
    """Random seed from which every random draw derives: shuffles, rollouts, evaluation and bootstrap."""
    threads: Positive
    """Cores of each stage; a part of the result, since float sums depend on it."""
    curate: CurateConfig
    """Training prompts and benchmarks: their sources and filters. A training prompt is removed if it is a
    benchmark problem, a near duplicate of another prompt, or has an answer that its own verifier does not
    accept. data/prompts/report.json has the counts, data/prompts/quarantine.parquet every removed row with
    its reason."""
    base: Policy
    """The starting policy: exactly one of `model` (pretrained) and `warm_start` (built here). The model needs
    a chat template, its own or `chat_template`."""
    teacher: TeacherConfig | None
    """The model that writes teacher trajectories; null: none. Exactly one of `policy` (sampled here) and
    `endpoint` (a server) is given. The verifier judges each response, and correct ones become trajectories of
    the source `teacher`."""
    rollout: RolloutConfig
    """How the policy is sampled, in the stage rollouts and in training."""
    experts: ExpertsConfig
    """Expert trajectories: their sources and filters. The verifier judges every trajectory, and those that it
    rejects are quarantined."""
    arms: Annotated[dict[str, ArmConfig], Field(min_length=1)]
    """Arm name -> the mix of experts that the arm learns from. A name has letters, digits, _ and - only. All
    arms have the same prompts, budget and seeds. `hpt arm NAME key=value ...` adds an expert source and an
    arm that learns from it alone."""
    train: TrainConfig
    """The training run of each arm."""
    evaluate: EvaluateConfig
    """How avg@k and pass@k are measured on `curate.benchmarks`."""
    verifier: VerifierConfig
    """The processes that judge responses."""
    tracking: TrackingConfig
    """Names in MLflow."""
    promotion: PromotionConfig = PromotionConfig()
    """What a candidate must show to replace the champion. The promotion gate also requires that no benchmark
    problem is among the training prompts and that every expert trajectory was verified."""
    schedule: ScheduleConfig
    """When `hpt serve` and the deployments of `hpt deploy` run the flow."""
    pools: dict[str, str] = Field(default_factory=dict)
    """Stage -> the Prefect work pool whose workers run it. Other stages run where the flow does. `train`
    stands for the training of every arm, `train@teacher` for that of one.
    docs/operations.md has the commands."""
    alerts: AlertsConfig = AlertsConfig()
    """When a run counts as dead, and what is worth an alert. Where alerts go is no parameter but the
    environment variable HPT_ALERT_WEBHOOK, since the address is a secret."""
    retention: RetentionConfig = RetentionConfig()
    """How long the tables of Prefect and MLflow grow."""
    inbox: InboxConfig | None = None
    """Where new files of demonstrations arrive; null: nowhere. `hpt inbox poll` takes them."""

    @property
    def promotion_benchmarks(self) -> list[str]:
        """Benchmarks on which a candidate must be better."""
        outside = self.promotion.out_of_distribution
        return self.promotion.benchmarks or [name for name in self.curate.benchmarks if name not in outside]

    @property
    def gated_benchmarks(self) -> list[str]:
        """Benchmarks that decide a promotion."""
        return [*self.promotion_benchmarks, *self.promotion.out_of_distribution]

    @property
    def samples(self) -> dict[str, int]:
        """Benchmark -> responses per problem."""
        samples = self.evaluate.samples
        if isinstance(samples, dict):
            return {name: samples[name] for name in self.curate.benchmarks}
        return {name: samples or self.published_samples(name) for name in self.curate.benchmarks}

    def published_samples(self, name: str) -> int:
        """The published number of responses per problem of a benchmark, from the registry."""
        registered = {source.benchmark for source in self.curate.benchmarks[name]}
        samples = {BENCHMARKS[benchmark].samples for benchmark in registered if benchmark is not None}
        if None in registered or len(samples) != 1:
            raise error_at(
                ("evaluate", "samples"),
                f"null stands for published numbers, and there is none for {name!r}: its sources name "
                f"{sorted(map(str, registered))} as `benchmark`; give a number, or one for each benchmark",
            )
        return samples.pop()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Params:
        for relation in RELATIONS:
            relation(self)
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Read and check `path`. Raises InputError that names the line of the first wrong key."""
    tree = yaml_errors.read_yaml(path)
    try:
        return Params.model_validate(yaml_errors.plain_values(tree))
    except ValidationError as error:
        messages = (yaml_errors.message(path, tree, details) for details in error.errors())
        raise InputError("\n".join(messages)) from None
