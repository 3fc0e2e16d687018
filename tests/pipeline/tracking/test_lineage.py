"""Lineage of published arms, with real DVC, real MLflow and the index beside it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.tracking import dvc_lock
from pipelines.tracking.lineage import report as lineage_report
from pipelines.tracking.lineage.contributions import trained_on
from pipelines.tracking.lineage.index import Index


def rows(*steps: dict[str, tuple[str, bool]]) -> list[dict[str, Any]]:
    """Gate rows; a step is prompt -> (route, trained). The trajectory of p1 is t1."""
    return [
        {"step": number, "prompt_id": prompt, "route": route, "trained": trained}
        | {"trajectory_id": None if route == "no_expert" else f"t{prompt[1:]}"}
        for number, step in enumerate(steps, 1)
        for prompt, (route, trained) in step.items()
    ]


def test_only_demonstrations_that_were_trained_on_count() -> None:
    first = {"p1": ("sft", True), "p2": ("both", True), "p3": ("rl", False), "p4": ("equal", False)}
    skipped = {"p1": ("sft", False), "p2": ("both", False)}
    last = {"p1": ("sft", True), "p2": ("rl", False), "p5": ("no_expert", False)}
    assert trained_on(rows(first, skipped, last)) == Counter({"t1": 2, "t2": 1})


@pytest.fixture
def published(workspace: Path) -> Path:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace)
    register(workspace)
    return workspace


def printed(print_: Any, *arguments: Any) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        print_(console, Path(), *arguments)
    return captured.get()


def test_a_version_shows_all_that_it_was_made_from(published: Path) -> None:
    lock = dvc_lock.read_lock(published)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=published, capture_output=True, text=True
    ).stdout
    text = printed(lineage_report.print_version, 2)
    assert text.startswith("toy v2  arm human, recipe toy\n")
    assert f"commit  {commit.strip()}" in text
    for path in ("data/prompts", "data/experts/experts.parquet", "models/base", "data/rollouts/human"):
        assert f"  {path}  {dvc_lock.output_hash(lock, path)}\n" in text
    assert "models/program" not in text, "the model of another arm"
    # 3 + 2 + 1 demonstrations over three steps, of 3 prompts among 4.
    assert "people author of people MIT 4 3 6" in " ".join(text.split())
    assert "sums MIT 4" in " ".join(text.split())
    assert "  train.steps  3\n" in text


def test_a_trajectory_shows_the_models_that_trained_on_it(published: Path) -> None:
    text = " ".join(printed(lineage_report.print_trajectory, "human0").split())
    assert "human0: 1 of 2 published runs trained on it; registered models: toy v2" in text
    # The arm was offered this trajectory and never trained on it.
    assert "human3: 0 of 2 published runs trained on it; registered models: none" in printed(
        lineage_report.print_trajectory, "human3"
    )


def test_a_second_run_on_the_same_trajectory_is_found_too(published: Path) -> None:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    path = published / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    subprocess.run(["dvc", "repro", "-q"], cwd=published, check=True)
    publish(published)
    assert "registered models: toy v1\n" in printed(lineage_report.print_trajectory, "program1")
    register(published)
    assert "2 of 4 published runs trained on it; registered models: toy v1, toy v3" in printed(
        lineage_report.print_trajectory, "program1"
    )


def test_a_lost_index_is_built_again_from_the_published_runs(published: Path) -> None:
    index = Index(published, "toy")
    before = {
        name: printed(lineage_report.print_trajectory, name) for name in ("human0", "human2", "program3")
    }
    version = printed(lineage_report.print_version, 1)
    index.path.unlink()
    assert {name: printed(lineage_report.print_trajectory, name) for name in before} == before
    assert printed(lineage_report.print_version, 1) == version


def test_the_next_publication_builds_a_lost_index_again(published: Path) -> None:
    from pipelines.tracking.publish import publish

    before = printed(lineage_report.print_trajectory, "human0")
    Index(published, "toy").path.unlink()
    assert not publish(published).changed
    assert Index(published, "toy").complete
    assert printed(lineage_report.print_trajectory, "human0") == before


def test_runs_that_others_publish_to_a_named_server_are_found(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{published}/mlflow.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "params.yaml").write_text((published / "params.yaml").read_text())
    monkeypatch.chdir(elsewhere)
    assert "registered models: toy v2" in printed(lineage_report.print_trajectory, "human0")


def test_training_that_was_never_evaluated_counts(workspace: Path) -> None:
    from pipelines.tracking.publish import publish

    (workspace / "metrics/eval/human.json").unlink()
    publish(workspace)
    assert "1 of 2 published runs trained on it" in printed(lineage_report.print_trajectory, "human0")


def test_unknown_versions_and_missing_arguments_are_refused(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="toy: no version 9; it has v1, v2"):
        lineage_report.print_version(Console(), published, 9)
    assert main.main(["lineage", "9"]) == 2
    assert main.main(["lineage"]) == 2
    assert "one of the arguments" in capsys.readouterr().err


def test_an_answer_does_not_wait_for_mlflow(published: Path) -> None:
    """Importing mlflow takes longer than the answer."""
    code = (
        "import sys; from pipelines.cli import main; main.main(sys.argv[1:]); "
        "assert 'mlflow' not in sys.modules"
    )
    for question in (["lineage", "1"], ["lineage", "--trajectory", "human0"]):
        result = subprocess.run([sys.executable, "-c", code, *question], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
