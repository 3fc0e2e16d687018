"""The schema of params.yaml, `Params`, and the relations that its sections must keep to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    ExpertSource,
    Policy,
    Positive,
    PromptSource,
    RolloutConfig,
    TeacherConfig,
    TrainConfig,
    VerifierConfig,
)
from hpt_core.config.base import error_at
from hpt_core.config.data import SOURCE, TO_FILL_IN
from hpt_core.config.names import file_name_fault, same_but_for_case
from hpt_core.errors import InputError
from pipelines.params import yaml_errors
from pipelines.params.sections import (
    AlertsConfig,
    InboxConfig,
    PromotionConfig,
    RetentionConfig,
    ScheduleConfig,
    TrackingConfig,
)
from pipelines.paths import INBOX_FOLDERS, PARAMS, RESERVED_NAMES

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
        return {name: samples or self._published_samples(name) for name in self.curate.benchmarks}

    def _published_samples(self, name: str) -> int:
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
    def _every_benchmark_has_samples(self) -> Params:
        samples, key, benchmarks = (
            self.evaluate.samples,
            ("evaluate", "samples"),
            list(self.curate.benchmarks),
        )
        if isinstance(samples, dict):
            for name in samples:
                if name not in benchmarks:
                    message = f"no such benchmark: curate.benchmarks has {benchmarks}; remove it"
                    raise error_at((*key, name), message)
            if missing := [name for name in benchmarks if name not in samples]:
                raise error_at(key, f"no number for {missing}; add one for each, or give one number for all")
        elif samples is None:
            for name in benchmarks:
                self._published_samples(name)
        return self

    @model_validator(mode="after")
    def _promotion_names_benchmarks(self) -> Params:
        benchmarks, outside = list(self.curate.benchmarks), self.promotion.out_of_distribution
        for key in ("benchmarks", "out_of_distribution"):
            for i, name in enumerate(getattr(self.promotion, key) or []):
                if name not in benchmarks:
                    raise error_at(
                        ("promotion", key, i),
                        f"no benchmark {name!r}: curate.benchmarks has {benchmarks}; correct or remove it",
                    )
        if not self.promotion_benchmarks:
            raise error_at(
                ("promotion", "out_of_distribution"), "no benchmark is left to be better on; remove one"
            )
        if both := sorted(set(self.promotion_benchmarks) & set(outside)):
            raise error_at(
                ("promotion", "benchmarks"), f"{both} is out of distribution as well; keep it in one"
            )
        return self

    @model_validator(mode="after")
    def _gate_has_weights_at_every_pass_rate(self) -> Params:
        for at, method in self.train.located:
            try:
                method.gate.check(self.rollout.group_size)
            except ValueError as error:
                raise error_at(
                    ("train", *at, "gate"),
                    f"{error} of rollout.group_size {self.rollout.group_size}; correct the formula",
                ) from None
        return self

    @model_validator(mode="after")
    def _overlong_buffer_is_within_the_response(self) -> Params:
        longest = self.rollout.max_new_tokens
        for at, method in self.train.located:
            if (overlong := method.overlong) is not None and overlong.buffer > longest:
                raise error_at(
                    ("train", *at, "overlong", "buffer"),
                    f"{overlong.buffer} tokens are more than rollout.max_new_tokens, {longest}; lower it",
                )
        return self

    @model_validator(mode="after")
    def _vllm_has_one_trainer_process(self) -> Params:
        if self.rollout.engine == "vllm" and self.train.ranks > 1:
            raise error_at(
                ("train", "ranks"),
                "vLLM samples beside one training process only; set rollout.engine: hf, or ranks: 1",
            )
        return self

    @model_validator(mode="after")
    def _sources_are_filled_in(self) -> Params:
        """`hpt inspect` writes TO_FILL_IN for what rows do not say; nothing may be trained under it."""
        groups: list[tuple[tuple[str | int, ...], Sequence[PromptSource | ExpertSource]]] = [
            (("curate", "train"), self.curate.train),
            *((("curate", "benchmarks", name), each) for name, each in self.curate.benchmarks.items()),
            (("curate", "decontamination", "against"), self.curate.decontamination.against),
            (("experts", "sources"), self.experts.sources),
        ]
        for place, sources in groups:
            for i, source in enumerate(sources):
                for key in ("license", "author", "revision"):
                    if getattr(source, key, None) == TO_FILL_IN:
                        message = f"fill in the {key} of source {source.name!r}, or write unknown"
                        raise error_at((*place, i, key), message)
        return self

    @model_validator(mode="after")
    def _no_source_is_named_teacher(self) -> Params:
        for i, source in enumerate(self.experts.sources):
            if self.teacher and source.name == "teacher":
                raise error_at(
                    ("experts", "sources", i, "name"),
                    "'teacher' is the source of what `teacher` writes; rename this one, or set teacher: null",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_sources(self) -> Params:
        sources = [(kind, source.name) for source in self.experts.sources for kind in sorted(source.kinds)]
        sources += [("teacher", "teacher")] if self.teacher else []
        mix_entries = sorted({entry for kind, name in sources for entry in (kind, f"{SOURCE}{name}")})
        for name, arm in self.arms.items():
            if missing := sorted(set(arm.mix) - set(mix_entries)):
                raise error_at(
                    ("arms", name, "mix", missing[0]),
                    f"nothing gives {missing}: experts.sources and teacher give {mix_entries}; add a "
                    "source, or drop the entry from the mix",
                )
        return self

    @model_validator(mode="after")
    def _inbox_folders_are_not_sources(self) -> Params:
        for i, source in enumerate(self.experts.sources if self.inbox else []):
            if source.name in INBOX_FOLDERS:
                message = f"{source.name!r} is a folder of the inbox; give the source another name"
                raise error_at(("experts", "sources", i, "name"), message)
        return self

    @model_validator(mode="after")
    def _likeliest_has_log_probabilities(self) -> Params:
        for name, arm in self.arms.items():
            if arm.choose == "likeliest" and not self.experts.base_logp:
                raise error_at(
                    ("arms", name, "choose"),
                    "likeliest needs log-probabilities, which the stage experts computes on request; set "
                    "experts.base_logp: true",
                )
        return self

    @model_validator(mode="after")
    def _arm_names_are_file_names(self) -> Params:
        for name in self.arms:
            if name in RESERVED_NAMES:
                raise error_at(("arms", name), f"models/{name} is not an arm's; give the arm another name")
            # Files and DVC stages have this name, and DVC reads a dot as a path into params.yaml.
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise error_at(("arms", name), "an arm's name has letters, digits, _ and - only; rename it")
        return self

    @model_validator(mode="after")
    def _names_are_file_names(self) -> Params:
        for place, names in (
            (("arms",), list(self.arms)),
            (("curate", "benchmarks"), list(self.curate.benchmarks)),
        ):
            for name in names:
                if fault := file_name_fault(name):
                    raise error_at((*place, name), fault)
            if pair := same_but_for_case(names):
                raise error_at(
                    (*place, pair[1]), f"{pair[0]} is the same file name on some systems; rename it"
                )
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Read and check `path`. Raises InputError that names the line of the first wrong key."""
    tree = yaml_errors.read_yaml(path)
    try:
        return Params.model_validate(yaml_errors.plain_values(tree))
    except ValidationError as error:
        messages = (yaml_errors.message(path, tree, details) for details in error.errors())
        raise InputError("\n".join(messages)) from None
