"""No benchmark picks a checkpoint: dvc.yaml leads nothing of an evaluation into training.

That training opens no other file than these is held by `test_stages`, which runs every stage in a folder with
nothing but its dependencies.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage import Stage

REPO = Path(__file__).parents[2]
BENCHMARKS = "data/prompts/benchmarks.parquet"


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[dict[str, Stage]]:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPO / name, tmp_path)
    with Repo(str(tmp_path)) as repo:
        yield {stage.name: stage for stage in repo.index.stages}


def inputs(stage: Stage) -> set[str]:
    """Its dependencies, `params.yaml:KEY` for each key of the parameters."""
    paths = {dep.def_path for dep in stage.deps}
    keys = {f"params.yaml:{key}" for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
    return paths | keys


def under(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def readers(stages: dict[str, Stage], made: set[str]) -> set[str]:
    """Stages that depend on one of the paths `made`, or on a folder around it, directly or not."""
    found: set[str] = set()
    while True:
        more = {
            name
            for name, stage in stages.items()
            if any(under(dep, made) or any(under(one, {dep}) for one in made) for dep in inputs(stage))
        } - found
        if not more:
            return found
        found |= more
        made = made | {out.def_path for name in more for out in stages[name].outs}


def test_what_evaluations_find_reaches_the_report_alone(stages: dict[str, Stage]) -> None:
    evaluations = [name for name in stages if name.startswith("evaluate")]
    assert len(evaluations) == 4
    found = {out.def_path for name in evaluations for out in stages[name].outs}
    assert len(found) == 8 and readers(stages, found) == {"compare"}


def test_training_reads_no_benchmark(stages: dict[str, Stage]) -> None:
    trainings = [stage for name, stage in stages.items() if name.startswith("train@")]
    assert len(trainings) == 3
    for stage in trainings:
        read = inputs(stage)
        assert not any(under(BENCHMARKS, {path}) for path in read), "neither the file nor a folder around it"
        assert "data/prompts/dev.parquet" in read
        for key in ("evaluate", "curate"):
            assert not any(path.startswith(f"params.yaml:{key}") for path in read)


def test_before_training_the_benchmarks_are_read_to_keep_them_out_of_lessons(
    stages: dict[str, Stage],
) -> None:
    """Of the stages that training needs, only those that build a policy open them."""
    direct = {name for name, stage in stages.items() if BENCHMARKS in inputs(stage)}
    assert direct == {"base", "teacher", "compare"} | {n for n in stages if n.startswith("evaluate")}
