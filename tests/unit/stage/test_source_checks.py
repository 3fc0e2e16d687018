"""`hpt check`, and what `hpt run` checks first: sources, models and the teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.params import Params, load_params
from pipelines.stage.source_checks import Check, check_before_run, check_inputs, errors

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
