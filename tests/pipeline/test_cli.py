"""`hpt`: help and completion, the messages of its errors, and what recipes do to params.yaml."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

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
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


ARGUMENTS = {
    "run": ["key=value", "--recipe NAME", "--retries", "--workers", "--no-wait", "--without-prefect"],
    "recipe": ["NAME", "key=value"],
    "arm": ["NAME", "key=value", "kind=human"],
    "status": [],
    "push": [],
    "serve": ["--port", "--workers", "HPT_WORKERS"],
    "check": [],
    "deploy": ["--pool", "--write"],
    "worker": ["--name", "--pool"],
    "publish": [],
    "summary": [],
    "compare": ["--open", "--port"],
    "rollback": ["--to VERSION", "--reason TEXT"],
    "lineage": ["VERSION", "--trajectory ID"],
    "lab": ["STUDY", "--report"],
    "ui": ["--port"],
    "verify": ["FILE", "--gold-check", "--mutation-check", "--kind", "--workers", "--timeout"],
    "inspect": ["FILE|HUB_ID", "--root", "--subset", "--split", "--revision", "--rows"],
    "doctor": ["MODEL", "--engine", "--dtype", "--revision", "--chat-template", "--system-prompt"],
    "plan": ["--recipe", "--device", "--gpus", "--price", "--response", "--measured", "--json"],
    "remote": ["URL"],
    "stack": ["up", "down", "status", "logs", "backup", "restore"],
    "inbox": ["list", "put", "poll", "release"],
}
"""Command -> what its help must name."""


def test_help_is_instant(toy: Path) -> None:
    """Seconds of the processor: those on the clock depend on what else the machine does."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert hpt("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_help_fits_a_screen_and_describes_every_command(toy: Path) -> None:
    result = hpt("--help")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert len(lines) <= 36 and max(map(len, lines)) <= 80
    first = lines.index("Commands:") + 1
    described = dict(line.split(maxsplit=1) for line in lines[first : lines.index("", first)])
    assert list(described) == list(ARGUMENTS)
    # A text that is too long for its line ends in three dots.
    assert all(text.endswith(".") and not text.endswith("...") for text in described.values())
    assert "--install-completion" in result.stdout


@pytest.mark.parametrize("command", ARGUMENTS)
def test_help_of_a_command_names_its_arguments(command: str, toy: Path) -> None:
    result = hpt(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Usage: hpt {command} [OPTIONS]")
    assert max(map(len, lines)) <= 80
    assert [name for name in ARGUMENTS[command] if name not in result.stdout] == []
    if ARGUMENTS[command] and command not in ("compare", "ui"):
        assert f"Examples:\n    hpt {command} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], "torch mlflow prefect dvc rich pydantic"),
        (["run", "--help"], "torch mlflow prefect dvc rich hpt_core.config"),
        # Judging a file must not wait for the configuration, which the types of the verifier refer to.
        (["verify", "answers.jsonl"], "torch mlflow prefect dvc rich hpt_core.config"),
    ],
)
def test_imports_of_commands_that_must_be_quick(arguments: list[str], forbidden: str, toy: Path) -> None:
    (toy / "answers.jsonl").write_text('{"response": "12", "gold": "12", "kind": "exact"}\n')
    code = (
        "import sys; from pipelines.cli.main import main; assert main(sys.argv[1:]) == 0; print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.splitlines()[-1].split())
    assert "pipelines.cli.runs" in modules
    assert modules & set(forbidden.split()) == set()


def test_completion(toy: Path) -> None:
    script = hpt("--show-completion", "bash")
    assert script.returncode == 0
    assert "_HPT_COMPLETE=complete_bash" in script.stdout and "complete -o default" in script.stdout


@pytest.mark.parametrize(
    ("words", "completions"),
    [("hpt st", ["status", "stack"]), ("hpt recipe l", ["long"]), ("hpt run --recipe ", ["long", "toy"])],
)
def test_completions(words: str, completions: list[str], toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_HPT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert hpt().stdout.split() == completions


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "hpt: Missing command; see `hpt --help`"),
        (["rnu"], "hpt: No such command 'rnu'. Did you mean 'run'?; see `hpt --help`"),
        (["run", "--no-such"], "hpt run: No such option: --no-such; see `hpt run --help`"),
        (["recipe"], "hpt recipe: Missing argument 'NAME'; see `hpt recipe --help`"),
        (["arm", "crowd"], "hpt arm: Missing argument 'key=value'; see `hpt arm --help`"),
        (["serve", "--port", "70000"], "'70000' is not a port; give one from 1 to 65535"),
        (["ui", "--port=-1"], "'-1' is not a port; give one from 1 to 65535"),
        (["compare", "--port", "x"], "'x' is not a port; give one from 1 to 65535"),
        (["lineage", "v0"], "no version 0; nothing is registered"),
        (["rollback", "--to", "latest"], "'latest' is not a whole number above 0"),
        (["lineage"], "one of the arguments VERSION and --trajectory"),
        (["lineage", "1", "--trajectory", "t"], "one of the arguments VERSION and --trajectory"),
        (["verify"], "hpt verify takes one FILE"),
        (["verify", "a.jsonl", "--kind", "math"], "hpt verify takes one FILE"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: list[str], error: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert error in err


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
    fixture = yaml.safe_load((toy / "params.yaml").read_text())
    assert main.main(["recipe", "toy"]) == 0
    first = (toy / "params.yaml").read_text()
    assert yaml.safe_load(first) == fixture
    assert main.main(["recipe", "toy"]) == 0
    assert (toy / "params.yaml").read_text() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe", "nowhere"], "recipes: long, toy"),
        (["recipe", "toy", "train.stepps=3"], "stepps"),
        (["recipe", "toy", "train.steps=many"], "train.steps"),
        (["run", "train.stepps=3"], "stepps"),
        (["run", "train.steps=many"], "train.steps"),
    ],
)
def test_bad_recipe_leaves_params_alone(
    arguments: list[str], message: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (toy / "params.yaml").read_text()
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err
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
        assert result.returncode == 1
        assert result.stderr == b"hpt verify: 1 of 2 lines have no verdict; their `error` says why\n"
        assert f"{file.replace('-', 'stdin')}:1: not UTF-8" in first["error"]
        assert second == {"correct": True, "extracted": "12", "error": None}


@pytest.mark.parametrize("value", ["x", "0", "-1", "1.5"])
def test_workers_that_are_no_number(
    value: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HPT_WORKERS", value)
    for arguments in (["--help"], ["run", "--help"]):
        assert main.main(arguments) == 0 and "Usage: hpt" in capsys.readouterr().out
    for arguments in (["run"], ["serve", f"--workers={value}"], ["verify", "-", f"--workers={value}"]):
        assert main.main(arguments) == 2
        error = capsys.readouterr().err
        assert "'--workers'" in error and f": '{value}' is not a whole number above 0" in error
        assert ("HPT_WORKERS" in error.splitlines()[-1]) == (arguments[0] != "verify")


def test_workers_by_default(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import run as running

    workers: list[int] = []

    def run(count: int, *options: object) -> SimpleNamespace:
        workers.append(count)
        return SimpleNamespace(completed=False, lines="not run in this test", prefect_away=False, status=1)

    monkeypatch.setattr(running, "run", run)
    for value in ("5", ""):
        monkeypatch.setenv("HPT_WORKERS", value)
        assert main.main(["run"]) == 1
    assert main.main(["run", "--workers", "3"]) == 1
    monkeypatch.delenv("HPT_WORKERS")
    assert main.main(["run"]) == 1
    assert workers == [5, 2, 3, 2]


def test_override_with_a_negative_number(toy: Path) -> None:
    assert main.main(["recipe", "toy", "seed=-1", "curate.dev_size=3"]) == 0
    params = yaml.safe_load((toy / "params.yaml").read_text())
    assert (params["seed"], params["curate"]["dev_size"]) == (-1, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted(number: int, toy: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "verify", "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    # More lines than are read at a time, so that the first verdict shows that the command has begun, but less
    # than fills a pipe, so that neither process waits for the other.
    process.stdin.write('{"response": "12", "gold": "12", "kind": "exact"}\n' * 1100)
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "hpt: interrupted\n")


def test_reader_that_closes_the_pipe(toy: Path) -> None:
    (toy / "answers.jsonl").write_text('{"response": "12", "gold": "12", "kind": "exact"}\n' * 5000)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "verify", "answers.jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (1, b"")


def test_an_arm_from_a_new_source(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (toy / "params.yaml").read_bytes()
    source = ["kind=human", "file=raw/data/crowd.jsonl"]
    assert main.main(["arm", "crowd", *source, "license=MIT"]) == 2
    assert "raw/data/crowd.jsonl" in capsys.readouterr().err
    (toy / "raw/data").mkdir(parents=True)
    (toy / "raw/data/crowd.jsonl").write_text('{"problem": "1 + 1 =", "response": "2"}\n')
    assert main.main(["arm", "crowd", *source, "license=WTFPL"]) == 2
    assert "license 'WTFPL' is not in experts.licenses" in capsys.readouterr().err
    assert main.main(["arm", "crowd", *source, "license=MIT", "columns={problem: question}"]) == 2
    assert "crowd.jsonl:1: missing_column" in capsys.readouterr().err
    assert (toy / "params.yaml").read_bytes() == before, "nothing is written for what cannot be used"
    assert main.main(["arm", "crowd", "kind=human", "license=MIT", "file=raw/data/crowd.jsonl"]) == 0
    assert "next: hpt run" in capsys.readouterr().out
    written = yaml.safe_load((toy / "params.yaml").read_text())
    assert written["experts"]["sources"][-1]["name"] == "crowd"
    assert written["arms"]["crowd"] == {"mix": {"source/crowd": 1.0}}
    assert main.main(["arm", "crowd", "kind=human", "license=MIT", "file=raw/data/crowd.jsonl"]) == 2
    assert "there is an arm 'crowd'" in capsys.readouterr().err
