"""params.yaml -> one typed `Params`. An error names the file, the line, the key and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
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

TAKEN = ("base", "teacher_policy")
"""Folders of models/ that the stages base and teacher write."""


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


class ArmConfig(Config):
    """A provenance mix: expert kind -> weight. Where a prompt has several, a seeded draw."""

    mix: Annotated[dict[str, Fraction], Field(min_length=1)]


class TrackingConfig(Config):
    experiment: str
    registered_model: str


class ScheduleConfig(Config):
    cron: str
    timezone: str


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


def _at(location: tuple[str, ...], message: str) -> PydanticCustomError:
    """An error at a place of its own: pydantic puts a validator's at the model that it is of."""
    return PydanticCustomError("arm", "{text}", {"text": message, "location": location})


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
    if item["type"] == "arm":
        return str(item["msg"])
    return f"{item['msg']}; got {item['input']!r}"[:400]
