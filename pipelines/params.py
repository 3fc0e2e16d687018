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
    Config,
    EvaluateConfig,
    ExpertSource,
    Fraction,
    Policy,
    Positive,
    PromptSource,
    RolloutConfig,
    TrainConfig,
    VerifierConfig,
)
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


class CurateConfig(Config):
    """Prompts to train on, a share of them held back for dev, and the benchmarks."""

    train: Annotated[list[PromptSource], Field(min_length=1)]
    dev_size: Positive
    max_problem_chars: Positive
    benchmarks: Annotated[dict[str, list[PromptSource]], Field(min_length=1)]


class TeacherConfig(Config):
    """The teacher policy and how it is asked; its verified responses become trajectories."""

    policy: Policy
    license: str
    """Of the responses."""
    samples: Positive
    temperature: Annotated[float, Field(gt=0)] = 0.7
    max_new_tokens: Positive


class ExpertsConfig(Config):
    sources: list[ExpertSource]
    licenses: list[str]
    """Licenses that may be trained on; others are quarantined."""
    max_tokens: Positive

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
    """A provenance mix: expert kind -> weight. Where a prompt has several, a seeded draw."""

    mix: Annotated[dict[str, Fraction], Field(min_length=1)]


class TrackingConfig(Config):
    experiment: str
    registered_model: str


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
    schedule: ScheduleConfig

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
        kinds = {source.kind for source in self.experts.sources} | ({"teacher"} if self.teacher else set())
        for name, arm in self.arms.items():
            if missing := sorted(set(arm.mix) - kinds):
                raise _at(
                    ("arms", name, "mix", missing[0]),
                    f"nothing gives {missing}: experts.sources and teacher give {sorted(kinds)}; add a "
                    "source, or drop the kind from the mix",
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
