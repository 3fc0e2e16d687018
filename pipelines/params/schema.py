"""params.yaml -> one typed `Params`. An error names the file, the line, the key and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from hpt_core.config import (
    BENCHMARKS,
    Config,
    CurateConfig,
    EvaluateConfig,
    Policy,
    Positive,
    RolloutConfig,
    TrainConfig,
    VerifierConfig,
)
from hpt_core.config.base import at
from hpt_core.data.demonstrations.selection import SOURCE
from hpt_core.errors import InputError
from pipelines.params import yaml_errors
from pipelines.params.sections import (
    ArmConfig,
    ExpertsConfig,
    PromotionConfig,
    ScheduleConfig,
    TeacherConfig,
    TrackingConfig,
)

MARK = "# recipe:"
"""Starts the first line of params.yaml, which says what wrote it."""

TAKEN = ("base", "teacher_policy")
"""Folders of models/ that the stages base and teacher write."""


class Params(Config):
    seed: int
    threads: Positive
    """Cores per stage; a part of the result, since float sums depend on it."""
    curate: CurateConfig
    base: Policy
    teacher: TeacherConfig | None
    rollout: RolloutConfig
    experts: ExpertsConfig
    arms: Annotated[dict[str, ArmConfig], Field(min_length=1)]
    train: TrainConfig
    evaluate: EvaluateConfig
    verifier: VerifierConfig
    tracking: TrackingConfig
    promotion: PromotionConfig = PromotionConfig()
    schedule: ScheduleConfig

    @property
    def promotion_benchmarks(self) -> list[str]:
        """Benchmarks that a candidate has to be better on."""
        outside = self.promotion.out_of_distribution
        return self.promotion.benchmarks or [name for name in self.curate.benchmarks if name not in outside]

    @property
    def samples(self) -> dict[str, int]:
        """Benchmark -> responses to each of its prompts."""
        given = self.evaluate.samples
        if isinstance(given, dict):
            return {name: given[name] for name in self.curate.benchmarks}
        return {name: given or self._published(name) for name in self.curate.benchmarks}

    def _published(self, name: str) -> int:
        """What is published for a benchmark that is one of the registry."""
        known = {source.benchmark for source in self.curate.benchmarks[name]}
        found = {BENCHMARKS[one].samples for one in known if one is not None}
        if None in known or len(found) != 1:
            raise at(
                ("evaluate", "samples"),
                f"null stands for published numbers, and there is none for {name!r}: its sources name "
                f"{sorted(map(str, known))} as `benchmark`; give a number, or one for each benchmark",
            )
        return found.pop()

    @model_validator(mode="after")
    def _every_benchmark_has_samples(self) -> Params:
        given, place = self.evaluate.samples, ("evaluate", "samples")
        if isinstance(given, dict):
            known = list(self.curate.benchmarks)
            for name in given:
                if name not in known:
                    raise at((*place, name), f"no such benchmark: curate.benchmarks has {known}; remove it")
            if missing := [name for name in known if name not in given]:
                raise at(place, f"no number for {missing}; add one for each, or give one number for all")
        elif given is None:
            for name in self.curate.benchmarks:
                self._published(name)
        return self

    @model_validator(mode="after")
    def _promotion_knows_its_benchmarks(self) -> Params:
        known, outside = list(self.curate.benchmarks), self.promotion.out_of_distribution
        for key in ("benchmarks", "out_of_distribution"):
            for i, name in enumerate(getattr(self.promotion, key) or []):
                if name not in known:
                    told = f"no benchmark {name!r}: curate.benchmarks has {known}; correct or remove it"
                    raise at(("promotion", key, i), told)
        if not self.promotion_benchmarks:
            raise at(("promotion", "out_of_distribution"), "no benchmark is left to be better on; remove one")
        if both := sorted(set(self.promotion_benchmarks) & set(outside)):
            raise at(("promotion", "benchmarks"), f"{both} is out of distribution as well; keep it in one")
        return self

    @model_validator(mode="after")
    def _one_process_for_vllm(self) -> Params:
        if self.rollout.engine == "vllm" and self.train.ranks > 1:
            raise at(
                ("train", "ranks"),
                "vLLM samples beside one training process only; set rollout.engine: hf, or ranks: 1",
            )
        return self

    @model_validator(mode="after")
    def _teacher_has_its_name(self) -> Params:
        for i, source in enumerate(self.experts.sources):
            if self.teacher and source.name == "teacher":
                raise at(
                    ("experts", "sources", i, "name"),
                    "'teacher' is the source of what `teacher` writes; rename this one, or set teacher: null",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_sources(self) -> Params:
        given = [(source.kind, source.name) for source in self.experts.sources]
        given += [("teacher", "teacher")] if self.teacher else []
        known = sorted({name for kind, source in given for name in (kind, f"{SOURCE}{source}")})
        for name, arm in self.arms.items():
            if missing := sorted(set(arm.mix) - set(known)):
                raise at(
                    ("arms", name, "mix", missing[0]),
                    f"nothing gives {missing}: experts.sources and teacher give {known}; add a source, or "
                    "drop the entry from the mix",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_what_they_choose_by(self) -> Params:
        for name, arm in self.arms.items():
            if arm.choose == "likeliest" and not self.experts.base_logp:
                raise at(
                    ("arms", name, "choose"),
                    "likeliest goes by log-probabilities that the stage experts computes if told to; set "
                    "experts.base_logp: true",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_names_of_their_own(self) -> Params:
        for name in self.arms:
            if name in TAKEN:
                raise at(("arms", name), f"models/{name} is not an arm's; give the arm another name")
            # The name is that of files and of DVC stages, and a dot would be a path into params.yaml.
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise at(("arms", name), "an arm's name has letters, digits, _ and - only; rename it")
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`. Raises InputError that names the line of the first wrong key."""
    tree = yaml_errors.read(path)
    try:
        return Params.model_validate(yaml_errors.plain(tree))
    except ValidationError as error:
        raise InputError("\n".join(yaml_errors.told(path, tree, item) for item in error.errors())) from None
