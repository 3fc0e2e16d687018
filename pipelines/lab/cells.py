"""The cells of a study: one run each, in a project folder of its own that is named by its content.

    lab/STUDY/sources/HASH/     prompts, base and trajectories, of settings that differ in their arm alone
    lab/STUDY/settings/HASH/    the project folder that the cells of a setting take their inputs from
    lab/STUDY/cells/HASH/       the project folder of a cell; result.json is there once it is complete

The hash covers parameters and code, so that a cell is made once, whoever makes it, and anew after an edit.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpt_core.errors import InputError
from hpt_core.files import write_text
from hpt_core.fingerprint import code_hash, json_hash, read_sealed
from pipelines.lab.design import Keys, StudyDesign, replaced
from pipelines.params import Params, commented_yaml
from pipelines.params.recipes import composed
from pipelines.paths import PARAMS

STUDIES = Path("lab")
RESULT = "result.json"
PREPARING = ("seed", "threads", "curate", "base", "teacher", "rollout", "experts", "arms", "verifier")
RUNNING = (*PREPARING, "train", "evaluate")
"""Sections of params.yaml that decide a setting, and a cell."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    setting: str
    budget: str
    method: str
    seed: int
    trial: int | None
    """The number of its rates, from 0, where it is there to choose them; None for a run of the study."""
    tree: Keys = field(compare=False)
    """All of its params.yaml."""
    setting_tree: Keys = field(compare=False)
    """That of its setting."""
    trained: bool = field(compare=False)
    likelihood: int | None = field(compare=False)
    """Prompts on which NLLs are measured; None without."""

    @property
    def name(self) -> str:
        rates = "" if self.trial is None else f", rates {self.trial}"
        return f"{self.method}, {self.setting}, {self.budget}, seed {self.seed}{rates}"

    @cached_property
    def content(self) -> str:
        """16 hex digits of all that decides the result."""
        sections = {name: self.tree[name] for name in RUNNING}
        measured = [] if self.likelihood is None else [self.likelihood]
        return json_hash([sections, self.setting_content, self.trained, code_of_cells(), *measured])

    @cached_property
    def setting_content(self) -> str:
        return json_hash([{name: self.setting_tree[name] for name in PREPARING}, code_of_cells()])

    @cached_property
    def sources_content(self) -> str:
        """Of what all settings share that differ in their arm alone."""
        return json_hash(
            [{name: self.setting_tree[name] for name in PREPARING if name != "arms"}, code_of_cells()]
        )


class Study:
    """A design and the folder of its cells."""

    def __init__(self, root: Path, name: str, design: StudyDesign) -> None:
        """Raises InputError where the parameters of a cell are refused."""
        self.root, self.name, self.design = root.resolve(), name, design
        self.folder = self.root / STUDIES / name
        self._params = replaced(composed(root, design.recipe, design.inputs), design.params)
        for cell in [*self.trials(), *self.cells({})]:
            self._check(cell)

    def trials(self) -> list[Cell]:
        """The runs that choose the rates: each method with each of its rates, in the first setting."""
        setting, budget = next(iter(self.design.settings)), next(iter(self.design.budgets))
        return [
            self._cell(setting, budget, method, self.design.tuning_seed, trial)
            for method, of in self.design.methods.items()
            for trial in range(len(of.trials))
        ]

    def cells(self, chosen: Mapping[str, int]) -> list[Cell]:
        """The runs of the study, seed by seed, so that a study that is cut short has whole seeds.

        chosen: method -> the number of its rates; a method that is not in it has the first.
        """
        return [
            self._cell(setting, budget, method, seed, None, chosen.get(method, 0))
            for seed in self.design.seeds
            for setting in self.design.settings
            for budget in self.design.budgets
            for method in self.design.methods_of.get(setting, self.design.methods)
        ]

    def at(self, cell: Cell) -> Path:
        """The project folder of a cell."""
        return self.folder / "cells" / cell.content

    def setting_at(self, cell: Cell) -> Path:
        return self.folder / "settings" / cell.setting_content

    def sources_at(self, cell: Cell) -> Path:
        return self.folder / "sources" / cell.sources_content

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """What a complete cell says; None for any other. A file with a changed byte counts as none."""
        try:
            return read_sealed(self.at(cell) / RESULT)
        except (OSError, ValueError, KeyError):
            return None

    def results(self, cells: Sequence[Cell]) -> dict[Cell, dict[str, Any]]:
        """The complete ones of `cells`, with what they say."""
        found = ((cell, self.result(cell)) for cell in cells)
        return {cell: result for cell, result in found if result is not None}

    def _cell(
        self, setting: str, budget: str, method: str, seed: int, trial: int | None, rates: int = 0
    ) -> Cell:
        of, shared = self.design.methods[method], self._shared(setting)
        keys = [self.design.budgets[budget], of.train or {}]
        keys += [of.trials[rates if trial is None else trial]] if of.trials else []
        tree = {**shared, "seed": seed}
        for changes in keys:
            tree = replaced(tree, {"train": changes})
        trained, likelihood = of.train is not None, self.design.likelihood
        return Cell(setting, budget, method, seed, trial, tree, shared, trained, likelihood)

    def _shared(self, setting: str) -> Keys:
        """The parameters of a setting, with the arm of the study alone."""
        shared, arm = replaced(self._params, self.design.settings[setting]), self.design.arm
        if arm not in shared["arms"]:
            known = ", ".join(shared["arms"])
            raise InputError(
                f"conf/lab/{self.name}.yaml: arm: there is no {arm!r} in setting {setting}; choose one of "
                f"{known}"
            )
        return {**shared, "arms": {arm: shared["arms"][arm]}}

    def _check(self, cell: Cell) -> None:
        try:
            params = Params.model_validate(cell.tree)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, [*first["loc"], *first.get("ctx", {}).get("location", ())]))
            raise InputError(
                f"conf/lab/{self.name}.yaml: {cell.name}: {place}: {first['msg']}; correct the keys of the "
                "study, its setting, its budget or its method"
            ) from None
        if self.design.benchmark not in params.curate.benchmarks:
            known = ", ".join(params.curate.benchmarks)
            raise InputError(
                f"conf/lab/{self.name}.yaml: benchmark: there is no {self.design.benchmark!r} in setting "
                f"{cell.setting}; choose one of {known}"
            )


def write_params(folder: Path, tree: Keys) -> None:
    write_text(folder / PARAMS, commented_yaml.dump(commented_yaml.describe(Params, tree, {})))


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether this process has the folder to itself in the block; the kernel frees it however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@cache
def code_of_cells() -> str:
    """The code that decides a result: that of the stages, and of the lab where it reads what they wrote."""
    package = Path(__file__).parent.parent
    stages = ("curate", "base", "rollouts", "teacher_responses", "experts", "select", "train", "evaluate")
    files = [package / f"{stage}.py" for stage in stages]
    files += sorted((package / "stage").glob("*.py"))
    files += [package / "lab" / name for name in ("cell_result.py", "likelihood.py")]
    return code_hash(*map(str, files))
