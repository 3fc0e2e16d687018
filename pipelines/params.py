"""params.yaml -> one typed `Params`. An error names the file, the line, the key and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from hpt_core.config import (
    BENCHMARKS,
    Choice,
    Config,
    CurateConfig,
    EndpointConfig,
    EvaluateConfig,
    ExpertSource,
    Fraction,
    Keep,
    Policy,
    Positive,
    RolloutConfig,
    Sampling,
    Script,
    TrainConfig,
    VerifierConfig,
)
from hpt_core.data.provenance import SOURCE
from hpt_core.errors import InputError

MARK = "# recipe:"
"""Starts the first line of params.yaml, which says what wrote it."""

TAKEN = ("base", "teacher_policy")
"""Folders of models/ that the stages base and teacher write."""


def _cron_field(value: str) -> str:
    """The expression of a list of values, ranges and steps of one cron field."""
    part = rf"(\*|({value})(-({value}))?)(/[1-9]\d*)?"
    return rf"{part}(,{part})*"


CRON = {
    "minute": _cron_field(r"[0-5]?\d"),
    "hour": _cron_field(r"[01]?\d|2[0-3]"),
    "day": _cron_field(r"0?[1-9]|[12]\d|3[01]|l"),
    "month": _cron_field(r"0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
    "weekday": _cron_field(r"l?[0-7](#[1-5])?|sun|mon|tue|wed|thu|fri|sat"),
}
"""What Prefect takes, in lower case. Prefect itself is not asked: reading parameters has to be cheap."""


class TeacherConfig(Config):
    """Who is asked for trajectories, a policy here or a served model, and how."""

    policy: Policy | None = None
    endpoint: EndpointConfig | None = None
    license: str
    """Of the responses."""
    samples: Positive
    temperature: Annotated[float, Field(gt=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive
    keep: Keep = "shortest"
    """Which correct responses to a prompt become trajectories; of all, each arm chooses its own."""
    budget_samples: Positive | None = None
    """At most this many responses, for the prompts that the starting policy solves least."""
    budget_tokens: Positive | None = None
    """At most this many generated tokens, likewise; where a server does not count them, max_new_tokens.

    What a host bills for attempts that failed or timed out comes on top.
    """

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)

    @model_validator(mode="after")
    def _one_teacher(self) -> TeacherConfig:
        if (self.policy is None) == (self.endpoint is None):
            raise _at((), "give exactly one of policy (sampled here) and endpoint (a server)")
        return self

    @model_validator(mode="after")
    def _budget_for_one_prompt(self) -> TeacherConfig:
        least = {"budget_samples": self.samples, "budget_tokens": self.samples * self.max_new_tokens}
        for name, needed in least.items():
            budget = getattr(self, name)
            if budget is not None and budget < needed:
                raise _at((name,), f"{budget} is not enough for one prompt, which may take {needed}")
        return self


class ExpertsConfig(Config):
    sources: list[ExpertSource]
    licenses: list[str]
    """Licenses that may be trained on; others are quarantined."""
    max_tokens: Positive
    scripts: Annotated[list[Script], Field(min_length=1)] | None = None
    """Scripts that the letters of a response are in; null: any."""
    base_logp: bool = False
    """Compute how likely each trajectory is under the starting policy, for arms that choose by it."""

    @model_validator(mode="after")
    def _sources_have_names_of_their_own(self) -> ExpertsConfig:
        # The name is what a trajectory and its dataset in MLflow are known by.
        seen: set[str] = set()
        for i, source in enumerate(self.sources):
            if source.name in seen:
                raise _at(("sources", i, "name"), f"two sources are named {source.name!r}; rename one")
            seen.add(source.name)
        return self


class ArmConfig(Config):
    """A provenance mix, and the choice among several trajectories for a prompt."""

    mix: Annotated[dict[str, Fraction], Field(min_length=1)]
    """Expert kind, or source/NAME, -> weight."""
    choose: Choice = "shortest"

    @model_validator(mode="after")
    def _weights_mean_something(self) -> ArmConfig:
        used = sorted(weight for weight in self.mix.values() if weight > 0)
        if not used:
            raise _at(("mix",), "every weight is 0, so it has no demonstrations; raise one")
        if self.choose == "preferred" and len(set(used)) < len(used):
            raise _at(
                ("mix",), f"choose: preferred goes by weight, and of {used} some are equal; tell them apart"
            )
        return self


class TrackingConfig(Config):
    experiment: str
    registered_model: str


class PromotionConfig(Config):
    """What a candidate has to show before it takes the place of the champion."""

    benchmarks: Annotated[list[str], Field(min_length=1)] | None = None
    """To be better on, each of them; null: all that are not out of distribution."""
    margin: Annotated[Fraction, Field(lt=1)] = 0.0
    """By how much: the whole interval of the paired difference lies above it."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of that interval, which has two sides."""
    out_of_distribution: list[str] = Field(default_factory=list)
    """Benchmarks unlike the training prompts, where it must not have become worse."""
    tolerance: Fraction = 0.02
    """By more than this, measured there."""


class ScheduleConfig(Config):
    cron: str
    """minute hour day month weekday"""
    timezone: str
    """IANA name."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        fields = cron.lower().split()
        named = dict(zip(CRON, fields, strict=False))
        wrong = [name for name, field in named.items() if not re.fullmatch(CRON[name], field)]
        if len(fields) != len(CRON) or wrong:
            said = f"{wrong[0]} {named[wrong[0]]!r} is wrong" if wrong else f"{len(fields)} fields"
            raise _at((), f'{cron!r}: {said}; give "{" ".join(CRON)}", such as "0 2 * * *" for 2 a.m.')
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise _at(
                (), f"no timezone {timezone!r}; give an IANA name such as Europe/Berlin or UTC"
            ) from None
        return timezone


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
            raise _at(
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
                    raise _at((*place, name), f"no such benchmark: curate.benchmarks has {known}; remove it")
            if missing := [name for name in known if name not in given]:
                raise _at(place, f"no number for {missing}; add one for each, or give one number for all")
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
                    raise _at(("promotion", key, i), told)
        if not self.promotion_benchmarks:
            raise _at(
                ("promotion", "out_of_distribution"), "no benchmark is left to be better on; remove one"
            )
        if both := sorted(set(self.promotion_benchmarks) & set(outside)):
            raise _at(("promotion", "benchmarks"), f"{both} is out of distribution as well; keep it in one")
        return self

    @model_validator(mode="after")
    def _one_process_for_vllm(self) -> Params:
        if self.rollout.engine == "vllm" and self.train.ranks > 1:
            raise _at(
                ("train", "ranks"),
                "vLLM samples beside one training process only; set rollout.engine: hf, or ranks: 1",
            )
        return self

    @model_validator(mode="after")
    def _teacher_has_its_name(self) -> Params:
        for i, source in enumerate(self.experts.sources):
            if self.teacher and source.name == "teacher":
                raise _at(
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
                raise _at(
                    ("arms", name, "mix", missing[0]),
                    f"nothing gives {missing}: experts.sources and teacher give {known}; add a source, or "
                    "drop the entry from the mix",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_what_they_choose_by(self) -> Params:
        for name, arm in self.arms.items():
            if arm.choose == "likeliest" and not self.experts.base_logp:
                raise _at(
                    ("arms", name, "choose"),
                    "likeliest goes by log-probabilities that the stage experts computes if told to; set "
                    "experts.base_logp: true",
                )
        return self

    @model_validator(mode="after")
    def _arms_have_names_of_their_own(self) -> Params:
        for name in self.arms:
            if name in TAKEN:
                raise _at(("arms", name), f"models/{name} is not an arm's; give the arm another name")
            # The name is that of files and of DVC stages, and a dot would be a path into params.yaml.
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise _at(("arms", name), "an arm's name has letters, digits, _ and - only; rename it")
        return self


def _at(location: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """An error at a place of its own: pydantic puts a validator's at the model that it is of."""
    return PydanticCustomError("told", "{text}", {"text": message, "location": location})


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`. Raises InputError that names the line of the first wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: not found; run from the project's folder, or `hpt recipe embedded`"
        ) from None
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}") from error
    try:
        return Params.model_validate(_plain(tree))
    except ValidationError as error:
        raise InputError("\n".join(_told(path, tree, item) for item in error.errors())) from None


def _told(path: Path, tree: Any, item: Any) -> str:
    """file:line: key: what is wrong and what to do."""
    location = (*item["loc"], *item.get("ctx", {}).get("location", ()))
    key = ".".join(map(str, location)) or "params"
    return f"{path}:{_line(tree, location)}: {key}: {_remedy(item)}"


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def _line(tree: Any, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that the file has."""
    line = 1
    for key in location:
        if isinstance(tree, CommentedMap) and key in tree:
            line = tree.lc.key(key)[0] + 1
        elif isinstance(tree, CommentedSeq) and isinstance(key, int) and key < len(tree):
            line = tree.lc.item(key)[0] + 1
        else:
            break
        tree = tree[key]
    return line


def _remedy(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key; correct its spelling or remove it (the README lists every key)"
    if item["type"] == "missing":
        return "missing; add it (the README lists every key)"
    if item["type"] == "told":
        return str(item["msg"])
    return f"{item['msg']}; got {item['input']!r}"[:400]
