"""No benchmark selects a checkpoint: in dvc.yaml no output of an evaluation is an input of training.

`test_stages` shows that training opens no other file: it runs every stage in a folder that has the stage's
dependencies alone.
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
    """The dependencies of a stage, with `params.yaml:KEY` for each key of the parameters."""
    paths = {dep.def_path for dep in stage.deps}
    keys = {f"params.yaml:{key}" for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
    return paths | keys


def under(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def readers(stages: dict[str, Stage], outputs: set[str]) -> set[str]:
    """Stages that depend on one of `outputs`, or on a folder around it, directly or through other stages."""
    reading: set[str] = set()
    while True:
        more = {
            name
            for name, stage in stages.items()
            if any(under(dep, outputs) or any(under(out, {dep}) for out in outputs) for dep in inputs(stage))
        } - reading
        if not more:
            return reading
        reading |= more
        outputs = outputs | {out.def_path for name in more for out in stages[name].outs}


def test_only_the_comparison_reads_what_evaluations_write(stages: dict[str, Stage]) -> None:
    evaluations = [name for name in stages if name.startswith("evaluate")]
    assert len(evaluations) == 4
    outputs = {out.def_path for name in evaluations for out in stages[name].outs}
    assert len(outputs) == 8 and readers(stages, outputs) == {"compare"}


def test_training_reads_no_benchmark(stages: dict[str, Stage]) -> None:
    trainings = [stage for name, stage in stages.items() if name.startswith("train@")]
    assert len(trainings) == 3
    for stage in trainings:
        read = inputs(stage)
        assert not any(under(BENCHMARKS, {path}) for path in read), "neither the file nor a folder around it"
        assert "data/prompts/dev.parquet" in read
        for key in ("evaluate", "curate"):
            assert not any(path.startswith(f"params.yaml:{key}") for path in read)


def test_before_training_the_benchmarks_are_read_to_keep_them_out_of_warm_starts(
    stages: dict[str, Stage],
) -> None:
    """Of the stages upstream of training, only base and teacher read the benchmarks."""
    direct = {name for name, stage in stages.items() if BENCHMARKS in inputs(stage)}
    assert direct == {"base", "teacher", "compare"} | {n for n in stages if n.startswith("evaluate")}
