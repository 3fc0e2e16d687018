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

from hpt_core import tables as columns
from hpt_core.errors import InputError
from hpt_core.files import write_json
from hpt_core.fingerprint import write_sealed
from hpt_core.types import Prompt
from pipelines import environment, paths
from pipelines.lab.cells import RESULT, Study, locked
from pipelines.lab.design import names, read_design
from pipelines.lab.report import write_report
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
    (root / "params.yaml").write_text("# recipe: tiny\n")
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


def planted(root: Path, solved: dict[tuple[str, int], list[int]], dev: dict[tuple[str, int], float]) -> Study:
    """A study of complete cells with these numbers of right responses, of 4 to each of three prompts."""
    present = study(make(root))
    prompts = [Prompt(f"p{i}", f"What is {i} + 0?", f"{i}", "exact", "sums", "mit") for i in range(3)]
    setting = present.setting_at(present.cells({})[0])
    rows = [columns.as_row(prompt) | {"benchmark": "held"} for prompt in prompts]
    columns.write(setting / paths.BENCHMARK_PROMPTS, rows, columns.BENCHMARKS)
    distance = {"trajectories": 4, "tokens": 5.5, "nll": 0.75, "rank": 1.5, "rank_over_nll": 2.0}
    write_json(setting / paths.EXPERTS_DISTANCE, {"worked": distance})
    chosen = {"sft": 1, "hpt": 0}
    for cell in [*present.trials(), *present.cells(chosen)]:
        right = solved.get((cell.method, cell.seed), [0, 0, 0])
        result = {
            "k": {"held": 4},
            "solved": {"held": {f"p{i}": n for i, n in enumerate(right)}},
            "truncated": {"held": 0.0},
            "spent": dict.fromkeys(("steps", "generated_tokens", "trained_tokens", "flops"), 1.0),
            "dev": None if cell.trial is None else dev[cell.method, cell.trial],
            "curves": {"dev/accuracy": [[2, 0.25 * cell.seed], [4, 0.5]]},
            "phases": [4],
            "health": {},
        }
        write_sealed(present.at(cell) / RESULT, result)
    return present


def test_tables_have_means_differences_and_what_one_method_alone_solves(tmp_path: Path) -> None:
    solved = {
        ("base", 1): [4, 0, 0],
        ("base", 2): [4, 0, 0],
        ("sft", 1): [4, 2, 0],
        ("sft", 2): [4, 1, 0],
        ("hpt", 1): [4, 0, 4],
        ("hpt", 2): [3, 0, 4],
    }
    dev = {("sft", 0): 0.1, ("sft", 1): 0.2, ("hpt", 0): 0.3, ("hpt", 1): 0.3}
    present = planted(tmp_path, solved, dev)
    found = tables(present)
    assert found["missing"] == 0 and pending(present) == []
    assert [trial["chosen"] for trial in found["trials"]] == [False, True, True, False], "the first of equals"
    compared = found["results"]["tiny"]["steps"]
    assert compared["accuracy"]["sft"] == {"1": pytest.approx(6 / 12), "2": pytest.approx(5 / 12)}
    assert compared["differences"]["held"]["sft"]["difference"] == pytest.approx(11 / 24 - 15 / 24)
    low, high = compared["differences"]["held"]["sft"]["ci95"]
    assert low < 11 / 24 - 15 / 24 < high
    assert compared["only"]["held"] == {"base": [], "sft": ["What is 1 + 0?"], "hpt": ["What is 2 + 0?"]}
    of_sft = compared["methods"]["sft"]
    # pass@2 of c right responses of 4 is 1 - C(4 - c, 2) / C(4, 2).
    curve = {at["k"]: at["pass_at_k"] for at in of_sft["benchmarks"]["held"]["pass_curve"]}
    assert curve[2] == pytest.approx((1 + 1 + (1 - 1 / 6) + (1 - 3 / 6)) / 6) and set(curve) == {1, 2, 4}
    assert of_sft["curves"]["dev/accuracy"] == [(2, pytest.approx(0.375)), (4, 0.5)]
    write_report(present)
    page = (tmp_path / "reports/lab.html").read_text()
    assert found["distance"]["tiny"]["worked"]["nll"] == 0.75 and "<td>0.750</td>" in page
    assert "Solved by hpt alone: 1" in page and "What is 2 + 0?" in page
    path = tmp_path / "reports/lab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"other": {"m": {"1": 0.5}}}))
    write_report(present)
    written = json.loads(path.read_text())
    assert written["other"], "other studies stay"
    of_small = written["details"]["small"]["results"]["tiny"]["steps"]
    assert list(of_small["methods"]) == ["base", "sft", "hpt"], "in the order of the design, as on the page"


def test_a_training_that_had_to_end_is_reported_and_in_no_mean(tmp_path: Path) -> None:
    dev = {("sft", 0): 0.1, ("sft", 1): 0.2, ("hpt", 0): 0.3, ("hpt", 1): 0.1}
    present = planted(tmp_path, {("sft", 1): [4, 4, 4]}, dev)
    [cell] = [c for c in present.cells({"sft": 1}) if (c.method, c.seed) == ("sft", 2)]
    write_sealed(present.at(cell) / RESULT, {"failed": "step 3: the loss is NaN"})
    compared = tables(present)["results"]["tiny"]["steps"]
    assert compared["failed"] == {"sft": {"2": "step 3: the loss is NaN"}}
    assert compared["methods"]["sft"]["benchmarks"]["held"]["accuracy"] == 1.0
    assert compared["methods"]["sft"]["seeds"] == 1 and "sft" not in compared["differences"]["held"]
    write_report(present)
    assert "the loss is NaN" in (tmp_path / "reports/lab.html").read_text()


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
    # Three policies, four trials, one source of demonstrations.
    assert "Which is better?" in page and page.count("<tr><th") == 3 + 4 + 1


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
