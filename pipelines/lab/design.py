"""The design of a study, from conf/lab/NAME.yaml: settings x budgets x methods x seeds, with tuned rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from hpt_core.config import Config
from hpt_core.config.base import Positive, error_at
from hpt_core.config.names import file_name_fault
from hpt_core.errors import InputError
from pipelines.params import yaml_errors

FOLDER = Path("conf/lab")
Keys = dict[str, Any]
"""Keys of a section that replace those of the study, at every depth; a list replaces the whole list."""
Named = Annotated[dict[str, Keys], Field(min_length=1)]


class MethodDesign(Config):
    """A method of the study."""

    train: Keys | None = Field(default_factory=dict)
    """Keys of `train`; null: the starting policy itself, which is not trained."""
    trials: list[Keys] = Field(default_factory=list)
    """Keys of `train`, of which the study takes those with the best accuracy on the dev prompts; all are
    reported. None: the method has nothing to choose."""


class Contrast(Config):
    """What a factor of the settings does, with others held equal (`pipelines/lab/contrasts.py`)."""

    factor: str
    """The factor."""
    base: str
    """Its level in the settings that the others are compared with."""
    to: str
    """Its level in the others."""
    equal: list[str] = Field(default_factory=list)
    """Factors that are held equal: each of their levels has a constant of its own."""
    covariates: list[Literal["tokens", "nll", "wrong"]] = Field(default_factory=list)
    """Measures of the demonstrations that a slope holds equal. tokens: their mean length. nll: in nats per
    token under the base. wrong: the share of wrong ones."""
    settings: Annotated[list[str], Field(min_length=2)]
    """The settings that are compared."""


class StudyDesign(Config):
    """A study. Each run has the parameters of the recipe with the keys of its row in their place."""

    question: str
    """What the study is to answer."""
    recipe: str
    """Recipe of conf/recipe."""
    params_of: str | None = None
    """Another study, whose `params` come before those here; null: none."""
    inputs: list[str] = Field(default_factory=list)
    """Overrides of the recipe, `key=value`, for what it needs: files and a model, by paths in the project."""
    params: Keys = Field(default_factory=dict)
    """Keys of params.yaml, the same for all runs."""
    likelihood: Positive | None = None
    """Number of prompts without a demonstration on which NLLs are measured after training; null: none. They
    are those of every source's trajectories and of the base's own rollouts."""
    arm: str
    """The arm whose demonstrations are used."""
    benchmark: str
    """The benchmark whose accuracy answers the question."""
    reference: str
    """The method that the others are compared with."""
    settings: Named
    """Setting -> keys of params.yaml: base, prompts, demonstrations. A setting is prepared once. The rates
    are tuned in the first."""
    budgets: Named
    """Budget -> keys of `train` that say how long a run is. The rates are tuned with the first."""
    tuning_seed: int
    """Seed of the trials, which no other run has."""
    seeds: Annotated[list[int], Field(min_length=1)]
    """Seeds of training, sampling and evaluation. What a setting is made from has the recipe's seed."""
    methods: Annotated[dict[str, MethodDesign], Field(min_length=1)]
    """Method -> how it trains."""
    methods_of: dict[str, list[str]] = Field(default_factory=dict)
    """Setting -> its methods, where they are not all."""
    factors: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Setting -> factor -> level, for the contrasts."""
    contrasts: dict[str, Contrast] = Field(default_factory=dict)
    """Name -> what a factor of the settings does."""

    @model_validator(mode="after")
    def _methods_are_known(self) -> StudyDesign:
        first = next(iter(self.settings))
        for setting, methods in self.methods_of.items():
            if setting not in self.settings or setting == first:
                message = f"no setting that may have fewer; choose among the settings after {first}"
                raise error_at(("methods_of", setting), message)
            if unknown := sorted(set(methods) - self.methods.keys()):
                raise error_at(("methods_of", setting), f"no such methods: {unknown}")
        return self

    @model_validator(mode="after")
    def _contrasts_have_levels(self) -> StudyDesign:
        for name, contrast in self.contrasts.items():
            for setting in contrast.settings:
                levels = self.factors.get(setting, {})
                if setting not in self.settings:
                    raise error_at(("contrasts", name, "settings"), f"there is no setting {setting!r}")
                if missing := [f for f in (contrast.factor, *contrast.equal) if f not in levels]:
                    raise error_at(("factors", setting), f"contrast {name} needs a level of {missing}")
                if levels[contrast.factor] not in (contrast.base, contrast.to):
                    message = f"{setting} has {levels[contrast.factor]!r}, which is not one of the two levels"
                    raise error_at(("contrasts", name, "settings"), message)
            if len({self.factors[setting][contrast.factor] for setting in contrast.settings}) < 2:
                raise error_at(("contrasts", name, "settings"), "no setting has the other level; add one")
        return self

    @model_validator(mode="after")
    def _names_are_file_names(self) -> StudyDesign:
        for section in ("settings", "budgets", "methods"):
            for name in getattr(self, section):
                if fault := file_name_fault(name):
                    raise error_at((section, name), fault)
        return self

    @model_validator(mode="after")
    def _comparison_is_fair(self) -> StudyDesign:
        if self.tuning_seed in self.seeds:
            message = f"{self.tuning_seed} is one of `seeds`; tune on a seed that the study does not use"
            raise error_at(("tuning_seed",), message)
        counts = {name: len(m.trials) for name, m in self.methods.items() if m.train is not None}
        if len(set(counts.values())) > 1:
            raise error_at(("methods",), f"trials by method: {counts}; give every method as many")
        if self.reference not in self.methods:
            raise error_at(("reference",), f"no such method; choose one of {', '.join(self.methods)}")
        return self


def names(root: Path) -> list[str]:
    """The studies of the project."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def read_design(root: Path, name: str) -> StudyDesign:
    """Read conf/lab/NAME.yaml. Raises InputError that names the line of the first wrong key."""
    path = _file(root, name)
    tree = yaml_errors.read_yaml(path)
    try:
        design = StudyDesign.model_validate(yaml_errors.plain_values(tree))
    except ValidationError as error:
        messages = (yaml_errors.message(path, tree, details) for details in error.errors())
        raise InputError("\n".join(messages)) from None
    if design.params_of is None:
        return design
    other: Keys = yaml_errors.plain_values(yaml_errors.read_yaml(_file(root, design.params_of)))
    if "params_of" in other or "params" not in other:
        raise InputError(f"{path}: params_of: name another study, with params of its own")
    return design.model_copy(update={"params": replaced(other["params"], design.params)})


def _file(root: Path, name: str) -> Path:
    """conf/lab/NAME.yaml. Raises InputError that names the studies that there are."""
    if name not in (known := names(root)):
        raise InputError(f"conf/lab/{name}.yaml: not found; studies: {', '.join(known) or 'none'}")
    return root / FOLDER / f"{name}.yaml"


def replaced(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> Keys:
    """`tree` with the keys of `changes` in their place, at every depth."""
    return {**tree, **dict(_replaced(tree, changes))}


def _replaced(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in changes.items():
        before = tree.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = replaced(before, value)
        yield key, value
