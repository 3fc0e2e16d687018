"""A study of two methods, two seeds and a few steps: killed and resumed, shared by two workers, published."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpt_core.errors import InputError
from pipelines import environment
from pipelines.lab.cells import Study, locked
from pipelines.lab.design import names, read_design
from pipelines.lab.run import run_study
from pipelines.lab.tables import tables
from pipelines.lab.worker import pending

REPO = Path(__file__).parents[3]
RECIPE = """\
# @package _global_
curate:
  train: &problems
    - {name: sums, reasoning_gym: chain_sum, size: 30, seed: 1, license: mit, options: &easy
        {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}
  dev_size: 4
  max_problem_chars: 200
  benchmarks:
    held: [{name: held, reasoning_gym: chain_sum, size: 8, seed: 900, license: mit, options: *easy}]
base:
  warm_start:
    hidden_size: 32
    layers: 1
    heads: 2
    max_positions: 160
    steps: 40
    batch_size: 16
    optimizer: {name: muon, lr: 0.005, matrix_lr: 0.02}
    sources: [{name: lessons, reasoning_gym: chain_sum, size: 300, seed: 5000, options: *easy}]
teacher: null
rollout: {group_size: 2, max_prompt_tokens: 100, max_new_tokens: 16, slots: 64}
experts: {max_tokens: 60, licenses: [mit], sources: [{name: worked, kind: program, license: mit}]}
arms:
  program: {mix: {program: 1.0}}
train:
  steps: 4
  prompts_per_step: 4
  checkpoint_every: 1
  dev_every: 2
  optimizer: {name: muon, lr: 0.001, matrix_lr: 0.005}
evaluate: {samples: 2, bootstrap: 200}
"""
DESIGN = """\
question: Which is better?
recipe: tiny
arm: program
benchmark: held
reference: hpt
settings:
  tiny: {}
budgets:
  steps: {steps: 4}
tuning_seed: 9
seeds: [1, 2]
methods:
  base: {train: null}
  sft:
    train: {algorithm: sft}
    trials: [{optimizer: {lr: 1.0e-3}}, {optimizer: {lr: 3.0e-3}}]
  hpt:
    train: {algorithm: hpt}
    trials: [{optimizer: {lr: 1.0e-3}}, {optimizer: {lr: 3.0e-3}}]
"""
WORKER = "from pathlib import Path; from pipelines.lab.run import run_study; run_study(Path('.'), 'small')"


def make(root: Path) -> Path:
    """A project with a study and nothing else."""
    (root / "conf/lab").mkdir(parents=True)
    (root / "conf/recipe").mkdir()
    shutil.copy(REPO / "conf/config.yaml", root / "conf")
    (root / "conf/recipe/tiny.yaml").write_text(RECIPE)
    (root / "conf/lab/small.yaml").write_text(DESIGN)
    (root / "dvc.yaml").write_text("stages: {}\n")
    return root


def worker(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=root, env=os.environ | {"PYTHONPATH": str(REPO)}
    )


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "AWS_"))]:
            patch.delenv(name)
        for name, value in environment.QUIET.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def undisturbed(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make(tmp_path_factory.mktemp("undisturbed"))
    run_study(root, "small")
    return root


def outputs(root: Path) -> dict[str, bytes]:
    files = [
        root / "reports/lab.json",
        root / "reports/lab.html",
        *root.glob("lab/small/cells/*/result.json"),
    ]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def study(root: Path) -> Study:
    return Study(root, "small", read_design(root, "small"))


@pytest.mark.slow
def test_every_cell_is_in_the_tables(undisturbed: Path) -> None:
    found = json.loads((undisturbed / "reports/lab.json").read_text())
    assert found["small"].keys() == {"base", "sft", "hpt"}
    assert all(seeds.keys() == {"1", "2"} for seeds in found["small"].values())
    details = found["details"]["small"]
    assert details["missing"] == 0
    assert [(trial["method"], trial["rates"]["optimizer"]["lr"]) for trial in details["trials"]] == [
        (method, rate) for method in ("sft", "hpt") for rate in (0.001, 0.003)
    ]
    for method in ("sft", "hpt"):
        best = max(trial["dev"] for trial in details["trials"] if trial["method"] == method)
        [chosen] = [t for t in details["trials"] if t["method"] == method and t["chosen"]]
        assert chosen["dev"] == best
    compared = details["results"]["tiny"]["steps"]
    assert compared["methods"]["base"]["spent"]["flops"] == 0 < compared["methods"]["sft"]["spent"]["flops"]
    assert (
        compared["methods"]["sft"]["spent"]["generated_tokens"]
        < compared["methods"]["hpt"]["spent"]["generated_tokens"]
    )
    means = {method: sum(seeds.values()) / 2 for method, seeds in found["small"].items()}
    for method, row in compared["differences"]["held"].items():
        assert row["difference"] == pytest.approx(means[method] - means["hpt"])
    page = (undisturbed / "reports/lab.html").read_text()
    assert "Which is better?" in page and page.count("<tr><th") == 3 + 4


@pytest.mark.slow
def test_a_study_that_was_killed_twice_and_shared_gives_the_same_bytes(
    undisturbed: Path, tmp_path: Path
) -> None:
    root = make(tmp_path)
    expected = outputs(undisturbed)
    for part in ("checkpoints/program/*/weights/0*", "result.json"):
        one = worker(root)
        deadline = time.monotonic() + 300
        while not list(root.glob(f"lab/small/cells/*/{part}")):
            assert one.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        one.send_signal(signal.SIGKILL)
        one.wait()
    two = [worker(root), worker(root)]
    assert [each.wait(300) for each in two] == [0, 0]
    assert outputs(root) == expected


@pytest.mark.slow
def test_a_complete_study_makes_nothing_again(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.train.run", None)
    assert pending(study(undisturbed)) == []
    before = outputs(undisturbed)
    run_study(undisturbed, "small")
    assert outputs(undisturbed) == before


@pytest.mark.slow
def test_each_cell_is_a_run_of_mlflow(undisturbed: Path) -> None:
    from pipelines.tracking.mlflow_store import Store

    store = Store(undisturbed, "hpt-lab")
    runs = store.tagged({"hpt.study": "small"})
    cells = [run for run in runs if run.data.tags["hpt.cell"] != "parent"]
    assert len(runs) == len(cells) + 1 and len(cells) == 4 + 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    [one] = [run for run in cells if (run.data.tags["lab.method"], run.data.tags["lab.seed"]) == ("hpt", "2")]
    accuracy = json.loads((undisturbed / "reports/lab.json").read_text())["small"]["hpt"]["2"]
    assert one.data.metrics["eval/held/accuracy"] == pytest.approx(accuracy)
    assert one.data.params["train.algorithm"] == "hpt"
    assert len(store.client.get_metric_history(one.info.run_id, "reward/mean")) == 4


@pytest.mark.slow
def test_a_changed_result_is_made_again_and_a_taken_cell_is_left(undisturbed: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(undisturbed, root, symlinks=True)
    present = study(root)
    cell = present.cells({})[0]
    result = present.at(cell) / "result.json"
    result.write_text(result.read_text().replace('"k"', '"K"', 1))
    assert pending(present) == [cell] and tables(present)["missing"] == 1
    with locked(present.at(cell), wait=False) as first, locked(present.at(cell), wait=False) as second:
        assert first and not second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: [1, 2]", "seeds: [9]", "is one of `seeds`"),
        (", {optimizer: {lr: 3.0e-3}}]\n  hpt", "]\n  hpt", "give every method as many"),
        ("algorithm: sft", "algorithm: sfd", "sft, tiny, steps, seed 9, rates 0: train.algorithm"),
        ("arm: program", "arm: human", "arm: there is no 'human'"),
        ("reference: hpt", "reference: hpd", "no such method"),
        ("question", "questions", "small.yaml:1"),
    ],
)
def test_a_wrong_design_is_refused_before_any_run(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = make(tmp_path)
    path = root / "conf/lab/small.yaml"
    path.write_text(DESIGN.replace(old, new))
    with pytest.raises(InputError, match=message.replace("`", ".")):
        study(root)
    with pytest.raises(InputError, match="studies: small"):
        read_design(root, "large")


def test_the_designs_of_the_project_can_be_made() -> None:
    for name in names(REPO):
        Study(REPO, name, read_design(REPO, name))
