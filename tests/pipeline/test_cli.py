"""`hpt`: what a user reads when something is wrong, and what recipes do to params.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main

CONFIG = """
defaults:
  - recipe: toy
  - _self_
"""


@pytest.fixture
def toy(make_toy: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_toy(tmp_path / "toy")
    (root / "conf" / "recipe").mkdir(parents=True)
    (root / "conf" / "config.yaml").write_text(CONFIG)
    text = (root / "params.yaml").read_text()
    (root / "conf" / "recipe" / "toy.yaml").write_text(f"# @package _global_\n{text}")
    (root / "conf" / "recipe" / "long.yaml").write_text(
        f"# @package _global_\n{text.replace('steps: 3', 'steps: 30')}"
    )
    monkeypatch.chdir(root)
    return root


def hpt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], capture_output=True, text=True, timeout=60
    )


def test_help_is_instant_and_gives_examples(toy: Path) -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        result = hpt("--help")
        times.append(time.perf_counter() - started)
    assert "hpt run --recipe" in result.stdout
    assert min(times) < 0.5


@pytest.mark.parametrize("command", ["run", "status", "serve"])
def test_unknown_params_key(command: str, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toy / "params.yaml"
    path.write_text(path.read_text().replace("  steps: 3", "  learning_rate: 1\n  steps: 3"))
    line = path.read_text().splitlines().index("  learning_rate: 1") + 1
    assert main.main([command]) == 2
    error = capsys.readouterr().err
    assert f"params.yaml:{line}: train.learning_rate: unknown key" in error
    assert error.count("\n") == 1


def test_dvc_yaml_that_cannot_be_resolved(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toy / "dvc.yaml"
    path.write_text(path.read_text().replace("${arms}", "${armies}", 1))
    assert main.main(["status"]) == 2
    assert "armies" in capsys.readouterr().err


def test_status_names_what_is_out_of_date(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["dvc", "repro", "-q", "base"], cwd=toy, check=True)
    assert main.main(["status"]) == 0
    state = {line[13:].split()[0]: line[:13].strip() for line in capsys.readouterr().out.splitlines()}
    assert (state["curate"], state["base"]) == ("up to date", "up to date")
    assert (state["experts"], state["compare"]) == ("out of date", "out of date")


def test_recipe_writes_values_and_keeps_comments(toy: Path) -> None:
    assert main.main(["recipe", "long", "seed=11"]) == 0
    text = (toy / "params.yaml").read_text()
    params = yaml.safe_load(text)
    assert (params["train"]["steps"], params["seed"]) == (30, 11)
    assert text.startswith("# recipe: long seed=11\n# A comment that a recipe must keep.\n")
    assert "# of the toy" in text


def test_recipe_twice_is_the_same_file(toy: Path) -> None:
    assert main.main(["recipe", "toy"]) == 0
    assert (toy / "params.yaml").read_text() == (Path(__file__).parent / "toy" / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe", "nowhere"], "recipes: long, toy"),
        (["recipe", "toy", "train.stepps=3"], "stepps"),
        (["recipe", "toy", "train.steps=many"], "train.steps"),
        (["run", "train.stepps=3"], "stepps"),
        (["run", "train.steps=many"], "train.steps"),
    ],
)
def test_bad_recipe_leaves_params_alone(
    arguments: list[str], said: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (toy / "params.yaml").read_text()
    assert main.main(arguments) == 2
    assert said in capsys.readouterr().err
    assert (toy / "params.yaml").read_text() == before
    assert not list(toy.glob(".params*"))


def test_override_keeps_hand_edits(toy: Path) -> None:
    from pipelines.params import recipes

    path = toy / "params.yaml"
    path.write_text(path.read_text().replace('cron: "0 2 * * *"', 'cron: "0 3 * * *"'))
    recipes.override(toy, ["seed=9"])
    params = yaml.safe_load(path.read_text())
    assert (params["seed"], params["schedule"]["cron"]) == (9, "0 3 * * *")
    assert path.read_text().startswith("# recipe: toy seed=9\n")


def test_verify_judges_lines_in_order(toy: Path) -> None:
    (toy / "answers.jsonl").write_text(
        '{"response": "It is 4.", "gold": "5", "kind": "exact"}\n'
        '{"response": "#### 12", "gold": "12", "kind": "gsm8k"}\n'
    )
    result = hpt("verify", "answers.jsonl")
    verdicts = [yaml.safe_load(line) for line in result.stdout.splitlines()]
    assert [verdict["correct"] for verdict in verdicts] == [False, True]


def test_verify_of_a_missing_file(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_verify_tells_a_line_that_is_not_utf8(toy: Path) -> None:
    good = b'{"response": "12", "gold": "12", "kind": "exact"}\n'
    (toy / "answers.jsonl").write_bytes(b"\xff\xfe\n" + good)
    for file, lines in (("answers.jsonl", None), ("-", (toy / "answers.jsonl").read_bytes())):
        command = [sys.executable, "-m", "pipelines.cli", "verify", file]
        result = subprocess.run(command, input=lines, capture_output=True, timeout=60)
        first, second = map(json.loads, result.stdout.splitlines())
        assert (result.returncode, result.stderr) == (0, b"")
        assert f"{file.replace('-', 'stdin')}:1: not UTF-8" in first["error"]
        assert second == {"correct": True, "extracted": "12", "error": None}


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5"])
def test_workers_that_are_no_number(
    value: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HPT_WORKERS", value)
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == 0 and "hpt run --recipe" in capsys.readouterr().out
    for arguments in (["run"], ["serve", f"--workers={value}"], ["verify", "-", f"--workers={value}"]):
        with pytest.raises(SystemExit) as ended:
            main.main(arguments)
        error = capsys.readouterr().err
        assert ended.value.code == 2
        assert f"--workers: '{value}' is not a whole number above 0" in error
        assert ("HPT_WORKERS" in error.splitlines()[-1]) == (arguments[0] != "verify")


def test_workers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPT_WORKERS", "5")
    assert main.parser().parse_args(["run"]).workers == 5
    assert main.parser().parse_args(["run", "--workers", "3"]).workers == 3
    monkeypatch.delenv("HPT_WORKERS")
    assert main.parser().parse_args(["run"]).workers == 2


def test_an_arm_from_a_new_source(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["arm", "crowd", "kind=human", "license=MIT", "file=raw/data/crowd.jsonl"]) == 0
    assert "next: hpt run" in capsys.readouterr().out
    written = yaml.safe_load((toy / "params.yaml").read_text())
    assert written["experts"]["sources"][-1]["name"] == "crowd"
    assert written["arms"]["crowd"] == {"mix": {"source/crowd": 1.0}}
    assert main.main(["arm", "crowd", "kind=human", "license=MIT", "file=raw/data/crowd.jsonl"]) == 2
    assert "there is an arm 'crowd'" in capsys.readouterr().err
