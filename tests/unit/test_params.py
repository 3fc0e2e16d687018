"""params.yaml: whatever is wrong in it is told with file, line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpt_core.errors import InputError
from pipelines.params import load_params

REPO = Path(__file__).parents[2]
TEXT = """\
seed: 3
threads: 1
curate:
  train:
    - {name: a, reasoning_gym: chain_sum, size: 9, seed: 1}
    - name: b
      reasoning_gym: chain_sum
      size: 9
      seed: 2
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout:
  group_size: 4
  max_prompt_tokens: 40
  max_new_tokens: 8
experts: {max_tokens: 40, licenses: [mit], sources: [{name: worked, kind: program}]}
arms:
  program:
    mix: {program: 1.0}
train:
  steps: 7
  prompts_per_step: 4
  optimizer: {lr: 0.003}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


def told(tmp_path: Path, text: str) -> str:
    """What loading `text` says, the folder left out."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value).replace(f"{path}:", "params.yaml:")


def test_the_text_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TEXT)
    params = load_params(tmp_path / "params.yaml")
    assert params.arms["program"].mix == {"program": 1.0} and params.teacher is None
    assert params.train.gate.gamma == 0.0


def test_the_project_s_own_parameters_load() -> None:
    load_params(REPO / "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # unknown keys, nested ones and those in a list
        (
            "steps: 7",
            "steps: 7\n  stepz: 8",
            "params.yaml:25: train.stepz: unknown key; correct its spelling",
        ),
        (
            "      seed: 2\n",
            "      seed: 2\n      sead: 2\n",
            "params.yaml:10: curate.train.1.sead: unknown key",
        ),
        ("verifier: {}", "verifier: {worker: 2}", "params.yaml:28: verifier.worker: unknown key"),
        # types
        ("group_size: 4", "group_size: four", r"params.yaml:16: rollout.group_size: .*integer; got 'four'"),
        ("group_size: 4", "group_size: 4.5", "params.yaml:16: rollout.group_size: .*integer.*; got 4.5"),
        ("seed: 3", "seed: '3'", "params.yaml:1: seed: .*integer; got '3'"),
        (
            "group_size: 4",
            "group_size: 1",
            "params.yaml:16: rollout.group_size: .*greater than or equal to 2",
        ),
        (
            "      size: 9\n",
            "      size: many\n",
            "params.yaml:8: curate.train.1.size: .*integer; got 'many'",
        ),
        # missing keys: the line of the section that lacks them
        ("  steps: 7\n", "", "params.yaml:23: train.steps: missing; add it"),
        ("threads: 1\n", "", "params.yaml:1: threads: missing; add it"),
        ("      size: 9\n", "", "params.yaml:6: curate.train.1: .*'b'.* needs size and seed"),
        # arms
        (
            "mix: {program: 1.0}",
            "mix: {human: 1.0}",
            r"params.yaml:22: arms.program.mix.human: nothing gives",
        ),
        (
            "  program:\n",
            "  base:\n",
            "params.yaml:21: arms.base: models/base is not an arm's; .*another name",
        ),
        ("  program:\n", "  teacher_policy:\n", "params.yaml:21: arms.teacher_policy: .*another name"),
        ("  program:\n", "  a/b:\n", r"params.yaml:21: arms.a/b: .*letters, digits.*rename it"),
        (
            "mix: {program: 1.0}",
            "mix: {program: 1.5}",
            "params.yaml:22: arms.program.mix.program: .*less than",
        ),
        # names of sources
        (
            "sources: [{name: worked, kind: program}]",
            "sources: [{name: worked, kind: program},\n  {name: worked, kind: program}]",
            r"params.yaml:20: experts.sources.1.name: two sources are named 'worked'; rename one",
        ),
        # the schedule
        (
            "timezone: UTC",
            "timezone: Mars/Crater",
            "params.yaml:30: schedule.timezone: no timezone 'Mars/Crater'; give an IANA name",
        ),
        ("timezone: UTC", "timezone: ../UTC", "params.yaml:30: schedule.timezone: no timezone"),
        ('"0 2 * * *"', '"0 2 * *"', r"params.yaml:30: schedule.cron: '0 2 \* \*': 4 fields; give .minute"),
        ('"0 2 * * *"', '"0 24 * * *"', r"params.yaml:30: schedule.cron: .*: hour '24' is wrong; give"),
        ('"0 2 * * *"', '"0 2 * * someday"', r"params.yaml:30: schedule.cron: .*weekday 'someday' is wrong"),
        ('"0 2 * * *"', "nightly", r"params.yaml:30: schedule.cron: 'nightly': minute 'nightly' is wrong"),
        # both at once, a line for each
        ("steps: 7", "steps: no\n  stepz: 8", "params.yaml:24: train.steps: .*\nparams.yaml:25: train.stepz"),
        # not YAML
        ("threads: 1", "threads: [1", "params.yaml:[0-9]+: not YAML: "),
        ("threads: 1", "seed: 1", "params.yaml:2: not YAML: found duplicate key"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert TEXT.count(old) == 1
    message = told(tmp_path, TEXT.replace(old, new))
    assert re.match(expected, message), message


@pytest.mark.parametrize("cron", ["*/15 0-6,22 1,15 JAN-jun mon-fri", "59 23 31 12 7", "0 2 L * 5#2"])
def test_cron_that_prefect_takes_too(tmp_path: Path, cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("0 2 * * *", cron))
    assert load_params(path).schedule.cron == CronSchedule(cron=cron).cron == cron


def test_an_arm_may_be_called_teacher(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("  program:\n", "  teacher:\n"))
    assert list(load_params(path).arms) == ["teacher"]


def test_no_file_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params.yaml: not found; run from the project's folder"):
        load_params(tmp_path / "params.yaml")
    assert told(tmp_path, "").startswith("params.yaml:1: params: ")


def test_a_teacher_makes_its_kind_available(tmp_path: Path) -> None:
    tree = YAML(typ="safe").load(TEXT)
    tree["arms"]["both"] = {"mix": {"teacher": 1.0}}
    path = tmp_path / "params.yaml"
    YAML().dump(tree, path)
    with pytest.raises(InputError, match=r"arms\.both\.mix\.teacher: nothing gives \['teacher'\]"):
        load_params(path)
    tree["teacher"] = {"policy": {"model": "m"}, "license": "mit", "samples": 1, "max_new_tokens": 8}
    YAML().dump(tree, path)
    assert load_params(path).arms["both"].mix == {"teacher": 1.0}


def test_the_teacher_s_name_is_taken_where_there_is_one(tmp_path: Path) -> None:
    tree = YAML(typ="safe").load(TEXT)
    tree["experts"]["sources"][0]["name"] = "teacher"
    path = tmp_path / "params.yaml"
    YAML().dump(tree, path)
    assert load_params(path).experts.sources[0].name == "teacher"
    tree["teacher"] = {"policy": {"model": "m"}, "license": "mit", "samples": 1, "max_new_tokens": 8}
    YAML().dump(tree, path)
    with pytest.raises(InputError, match=r"yaml:\d+: experts\.sources\.0\.name: 'teacher' is .*rename"):
        load_params(path)
