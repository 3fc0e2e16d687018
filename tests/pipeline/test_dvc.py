"""The real dvc.yaml with stages that do no work: what an edit re-runs; experiments, metrics and plots."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from toy_project import IDENTITY, REPO, TOY

CURVES = (
    "Mean reward of the rollouts",
    "Share of demonstrations among the trained rows",
    "Accuracy on dev",
)
ACCURACY = "Accuracy on the benchmarks"


def command(*words: str) -> str:
    """What it prints, run in the current folder."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '(.+)'", output))


def stale_stages() -> set[str]:
    """Stages of which a dependency has changed by now."""
    with Repo(".") as repo:
        return set(repo.status())


def commit(message: str) -> None:
    command("git", "add", "-A")
    command("git", *IDENTITY, "commit", "-qm", message)


@pytest.fixture(scope="module")
def reproduced(services: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the project's code and one arm, where every stage has run and is committed."""
    root = tmp_path_factory.mktemp("real") / "project"
    for name in ("hpt_core", "pipelines", "conf", "raw", ".dvc/plots"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dvc/config", ".dvc/.gitignore", ".gitignore", ".dvcignore"):
        shutil.copy(REPO / name, root / name)
    stages = (REPO / "dvc.yaml").read_text()
    assert "python -m pipelines." in stages
    (root / "dvc.yaml").write_text(stages.replace("python -m pipelines.", "python placeholder_stage.py "))
    params = (TOY / "params.yaml").read_text()
    assert "  human: {mix: {human: 1.0}}\n" in params
    (root / "params.yaml").write_text(params.replace("  human: {mix: {human: 1.0}}\n", ""))
    shutil.copy(Path(__file__).with_name("placeholder_stage.py"), root)
    (root / "new_results").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        command("git", "init", "-q")
        for name, value in (("user.name", "toy"), ("user.email", "toy@example.org")):
            command("git", "config", name, value)
        commit("the project")
        command("dvc", "repro", "-q")
        commit("its results")
    return root


@pytest.fixture
def project(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it, which is the current folder."""
    shutil.copytree(reproduced, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")


def edit(name: str) -> None:
    path = Path(name)
    path.write_text(path.read_text() + "\n# An edit.\n")


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("hpt_core/data/curation/dedup.py", "curate"),
        ("hpt_core/data/demonstrations/teacher.py", "experts"),
        ("hpt_core/data/demonstrations/teacher_rows.py", "teacher_responses experts"),
        ("hpt_core/data/demonstrations/selection.py", "select@program"),
        ("hpt_core/rollout/endpoint/client.py", "teacher_responses"),
        ("hpt_core/policy/warm_start.py", "base teacher"),
        ("hpt_core/policy/lora.py", "train@program"),
        ("hpt_core/upge/estimator.py", "train@program"),
        ("hpt_core/evaluation.py", "evaluate_base evaluate@program compare"),
        ("pipelines/report/page.py", "compare"),
        ("pipelines/tracking/publish.py", ""),
    ],
)
def test_an_edit_makes_the_stages_that_use_the_code_stale(project: None, file: str, stages: str) -> None:
    edit(file)
    assert stale_stages() == set(stages.split())


def test_new_demonstrations_are_trained_on_without_new_rollouts(project: None) -> None:
    edit("hpt_core/data/demonstrations/teacher.py")
    Path("new_results").write_text("experts select")
    assert stages_run(command("dvc", "repro")) == {
        "experts",
        "select@program",
        "train@program",
        "evaluate@program",
        "compare",
    }


def test_a_further_source_samples_no_teacher_and_trains_no_arm_that_does_not_use_it(project: None) -> None:
    """The stage `select` writes the same demonstrations as before, although its inputs changed."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["experts"]["sources"].append({"name": "further", "kind": "human", "file": "raw/data/new.jsonl"})
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("raw/data/new.jsonl").write_text("{}\n")
    Path("new_results").write_text("experts")
    assert stages_run(command("dvc", "repro")) == {"curate", "experts", "select@program", "compare"}


@pytest.mark.parametrize(
    "name",
    [
        "x; touch planted",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("$(touch planted)", "'; touch planted; '")),
    ],
)
def test_no_shell_interprets_the_name_of_an_arm(project: None, name: str) -> None:
    """`hpt` refuses such names; `dvc repro` alone reads params.yaml without `hpt`."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["arms"] = {name: params["arms"]["program"]}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["dvc", "repro", "--keep-going"], capture_output=True, text=True)
    assert not Path("planted").exists()
    assert Path("data/demonstrations", f"{name}.parquet").exists(), "a stage of the arm has run"


def test_curation_with_the_same_results_re_runs_nothing_else(project: None) -> None:
    edit("hpt_core/data/curation/dedup.py")
    assert stages_run(command("dvc", "repro")) == {"curate"}
    assert stale_stages() == set()


@pytest.mark.slow
def test_an_experiment_changes_one_parameter_of_the_present_recipe(project: None) -> None:
    """params.yaml is no recipe of conf/ here, so an experiment that composed one would change other keys."""
    before = yaml.safe_load(Path("params.yaml").read_text())
    output = command("dvc", "exp", "run", "--name", "low", "-S", "train.optimizer.lr=0.0005")
    assert stages_run(output) == {"train@program", "evaluate@program", "compare"}
    after = yaml.safe_load(Path("params.yaml").read_text())
    assert (before["train"]["optimizer"].pop("lr"), after["train"]["optimizer"].pop("lr")) == (0.001, 0.0005)
    assert after == before

    workspace, baseline = json.loads(command("dvc", "exp", "show", "--json"))
    [experiment] = baseline["experiments"]
    [revision] = experiment["revs"]
    assert revision["name"] == "low"
    for state, lr in ((baseline, 0.001), (revision, 0.0005), (workspace, 0.0005)):
        assert state["data"]["params"]["params.yaml"]["data"]["train"]["optimizer"]["lr"] == lr
        scores = {
            path: entry["data"]["held_out"]["avg_at_k"]
            for path, entry in state["data"]["metrics"].items()
            if path.startswith("metrics/eval")
        }
        assert scores == {
            "metrics/eval/base.json": 0.25,
            "metrics/eval/program.json": pytest.approx(0.5 + lr),
        }

    params = json.loads(command("dvc", "params", "diff", "--json"))
    assert params == {"params.yaml": {"train.optimizer.lr": {"old": 0.001, "new": 0.0005, "diff": -0.0005}}}
    metrics = json.loads(command("dvc", "metrics", "diff", "--json"))
    assert {path: list(change) for path, change in metrics.items()} == {
        "metrics/eval/program.json": ["held_out.avg_at_k"]
    }
    change = metrics["metrics/eval/program.json"]["held_out.avg_at_k"]
    assert (change["old"], change["new"]) == (pytest.approx(0.501), pytest.approx(0.5005))

    rows = rows_of_plots("diff", "HEAD", "workspace")[CURVES[0]]
    rewards = {(row["rev"], row["step"]): row["reward/mean"] for row in rows}
    assert rewards == pytest.approx(
        {(rev, step): step * lr for rev, lr in (("HEAD", 0.001), ("workspace", 0.0005)) for step in (1, 2, 3)}
    )


def test_plots_show_training_curves_and_accuracies(project: None) -> None:
    drawn = rows_of_plots("show")
    assert set(drawn) == {*CURVES, ACCURACY}
    for title in CURVES:
        assert {(row["arm"], row["step"]) for row in drawn[title]} == {
            ("program", step) for step in (1, 2, 3)
        }
    scores = {row["policy"]: row["avg_at_k"] for row in drawn[ACCURACY]}
    assert scores == pytest.approx({"base": 0.25, "program": 0.501})


def rows_of_plots(*words: str) -> dict[str, list[dict[str, Any]]]:
    """Title -> the rows that `dvc plots` draws."""
    shown = json.loads(command("dvc", "plots", *words, "--json"))
    assert "errors" not in shown, shown["errors"]
    return {title: plot["content"]["data"]["values"] for title, [plot] in shown["data"].items()}
