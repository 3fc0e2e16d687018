"""`hpt check`, and what `hpt run` checks first: sources, models and the teacher."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.params import Params, load_params
from pipelines.stage.check import Check, errors
from pipelines.stage.input_checks import check_before_run, check_inputs

PARAMS = """\
seed: 3
threads: 1
curate:
  train: [{name: mine, file: raw/data/problems.jsonl, answer_kind: math, license: mit}]
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: raw/models/own}
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 90, max_new_tokens: 8}
experts:
  max_tokens: 40
  licenses: [mit]
  sources:
    - {name: crowd, kind: human, license: mit, file: raw/data/crowd.jsonl}
    - {name: shady, kind: teacher, file: raw/data/crowd.jsonl}
arms:
  people: {mix: {human: 1.0}}
train: {steps: 7, prompts_per_step: 4, optimizer: {lr: 0.003}}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
PROBLEMS = [{"problem": f"{i} + 3 =", "answer": str(i + 3)} for i in range(4)]
UNKNOWN = [{"problem": "Who?", "response": "1"}]
SOLUTIONS = [{"problem": row["problem"], "response": f"\\boxed{{{row['answer']}}}"} for row in PROBLEMS]


def lines(path: str, rows: list[dict[str, str]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    for folder in ("raw/data", "raw/models/own"):
        Path(folder).mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        Path("raw/models/own", name).touch()
    words = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    words.save("raw/models/own/tokenizer.json")
    Path("raw/models/own/tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    lines("raw/data/problems.jsonl", PROBLEMS)
    lines("raw/data/crowd.jsonl", SOLUTIONS)
    Path("dvc.yaml").write_text("stages: {experts: {cmd: python -m pipelines.experts}}")
    Path("params.yaml").write_text(PARAMS)
    return load_params()


def found(params: Params) -> dict[str, Check]:
    return {check.what: check for check in check_inputs(params)}


def test_usable_inputs_have_no_errors(params: Params) -> None:
    checks = found(params)
    assert errors(list(checks.values())) == []
    assert checks["curate.train: mine"].found == checks["experts.sources: crowd"].found == "4 of 4 rows"
    [warning] = checks["experts.sources: shady"].warnings
    assert "license 'unknown' is not in experts.licenses" in warning
    check_before_run(params, Path())


def test_a_row_that_would_be_left_out_is_named_with_its_line(params: Params) -> None:
    bad = [{"problem": "9 + 9 ="}, {"problem": "8 " * 99, "answer": "1"}]
    lines("raw/data/problems.jsonl", PROBLEMS + bad)
    lines("raw/data/crowd.jsonl", [*SOLUTIONS, *UNKNOWN, {"problem": "8 " * 99, "response": "1"}])
    checks = found(params)
    assert any("problems.jsonl:5: missing_column" in line for line in checks["curate.train: mine"].warnings)
    assert any("problems.jsonl:6: " in line for line in checks["curate.train: mine"].warnings)
    [unknown, long] = sorted(checks["experts.sources: crowd"].warnings)
    assert long.startswith("raw/data/crowd.jsonl:6: left_out_by_curation: problem_too_long: ")
    assert unknown.startswith("raw/data/crowd.jsonl:5: unknown_prompt")
    assert errors(list(checks.values())) == []


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda: Path("raw/data/crowd.jsonl").unlink(), "raw/data/crowd.jsonl"),
        (lambda: lines("raw/data/crowd.jsonl", [{"response": "1"}]), "crowd.jsonl:1: missing_column"),
        (lambda: lines("raw/data/crowd.jsonl", UNKNOWN), "arms.people: no row of its"),
        (lambda: lines("raw/data/problems.jsonl", []), "problems.jsonl has no rows"),
        (lambda: Path("raw/models/own/config.json").unlink(), "raw/models/own has no config.json"),
        (lambda: Path("raw/models/own/tokenizer.json").unlink(), "raw/models/own has no tokenizer"),
        (
            lambda: Path("raw/models/own/tokenizer_config.json").unlink(),
            "raw/models/own has no chat template",
        ),
    ],
)
def test_what_would_stop_a_stage_stops_the_run_first(
    params: Params, harm: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(harm)
    harm()
    with pytest.raises(InputError) as error:
        check_before_run(params, Path())
    assert message in str(error.value)
    assert main.main(["check"]) == 2
    assert message in capsys.readouterr().out


def test_a_key_of_the_teacher_that_is_not_set(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = "endpoint: {url: 'http://127.0.0.1/v1', model: m, revision: r, api_key_env: K}"
    teacher = f"teacher: {{license: mit, samples: 1, max_new_tokens: 8, {endpoint}}}"
    Path("params.yaml").write_text(PARAMS.replace("teacher: null", teacher))
    monkeypatch.delenv("K", raising=False)
    [line] = found(load_params())["teacher.endpoint"].errors
    assert "the environment variable K is not set" in line
    monkeypatch.setenv("K", "secret")
    assert found(load_params())["teacher.endpoint"].errors == []


def test_the_share_of_rows_above_a_limit_of_tokens(params: Params) -> None:
    prompts = [*PROBLEMS, {"problem": "1 + " * 20 + "1", "answer": "21"}]
    lines("raw/data/problems.jsonl", prompts)
    lines("raw/data/crowd.jsonl", [*SOLUTIONS, {"problem": "1 + " * 20 + "1", "response": "so " * 41}])
    Path("params.yaml").write_text(PARAMS.replace("max_prompt_tokens: 90", "max_prompt_tokens: 40"))
    checks = found(load_params())
    [long] = checks["curate.train: mine"].warnings
    assert long.startswith("1 of 5 (20%) have more than rollout.max_prompt_tokens = 40 tokens")
    [long] = checks["experts.sources: crowd"].warnings
    assert long.startswith("1 of 5 (20%) have more than experts.max_tokens = 40 tokens")


def test_sources_of_a_policy_that_is_built_here(params: Params) -> None:
    source = "{name: w, file: raw/data/lessons.jsonl, answer_kind: math, license: mit}"
    sizes = "hidden_size: 8, layers: 1, heads: 1, max_positions: 64, steps: 1, batch_size: 1"
    base = f"base: {{warm_start: {{{sizes}, optimizer: {{lr: 0.1}}, sources: [{source}]}}}}"
    Path("params.yaml").write_text(PARAMS.replace("base: {model: raw/models/own}", base))
    place = "base.warm_start.sources: w"
    assert "lessons.jsonl" in found(load_params())[place].errors[0]
    lines("raw/data/lessons.jsonl", [*PROBLEMS, {"problem": "4 + 3 ="}])
    assert "lessons.jsonl:5: missing_column" in found(load_params())[place].errors[0]
    lines("raw/data/lessons.jsonl", PROBLEMS)
    assert found(load_params())[place].errors == []


def test_a_task_that_does_not_exist_is_found_without_importing_all_tasks(params: Params) -> None:
    code = "import sys; from pipelines.cli import main; status = main.main(['check'])\n"
    code += "sys.exit(10 * status + ('reasoning_gym' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    Path("params.yaml").write_text(PARAMS.replace("chain_sum", "chain_sums"))
    [error] = found(load_params())["curate.benchmarks.held: s"].errors
    assert "reasoning-gym has no task 'chain_sums'" in error


def test_a_machine_without_room_or_access(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))

    free(10**6)
    assert "make room" in found(params)["disk"].errors[0]
    # Two models of an arm and of base each, and a checkpoint of five.
    with Path("raw/models/own/model.safetensors").open("wb") as weights:
        weights.truncate(2**30)
    for size, warned in ((2**30 * 10, False), (2**30 * 9, True)):
        free(size)
        assert bool(found(params)["disk"].warnings) is warned
    Path("models").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "models")
    [closed] = found(params)["write access"].errors
    assert "models cannot be written" in closed
