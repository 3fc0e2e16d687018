"""params.yaml: each error names file, line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_params import TEXT, error_of

from hpt_core.errors import InputError
from pipelines.params import load_params

REPO = Path(__file__).parents[3]


def test_the_unchanged_text_loads(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TEXT)
    params = load_params(tmp_path / "params.yaml")
    assert params.arms["program"].mix == {"program": 1.0} and params.teacher is None
    assert params.train.gate.gamma == 0.0


def test_the_projects_own_parameters_load() -> None:
    load_params(REPO / "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # Unknown keys, also nested and in a list.
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
        # Types.
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
        # Missing keys: the line of the section that lacks them.
        ("  steps: 7\n", "", "params.yaml:23: train.steps: missing; add it"),
        ("threads: 1\n", "", "params.yaml:1: threads: missing; add it"),
        ("      size: 9\n", "", "params.yaml:6: curate.train.1: .*'b'.* needs size and seed"),
        # Arms.
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
        (
            "mix: {program: 1.0}",
            "mix: {program: 0.5, source/people: 0.5}",
            r"params.yaml:22: arms.program.mix.source/people: nothing gives \['source/people'\]: "
            r"experts.sources and teacher give \['program', 'source/worked'\]; add a source, or drop the",
        ),
        (
            "mix: {program: 1.0}",
            "mix: {program: 0}",
            "params.yaml:22: arms.program.mix: every weight is 0, so it has no demonstrations; raise one",
        ),
        (
            "mix: {program: 1.0}",
            "mix: {program: 0.5, source/worked: 0.5}\n    choose: preferred",
            r"params.yaml:22: arms.program.mix: choose: preferred goes by weight, and of \[0.5, 0.5\] some",
        ),
        (
            "mix: {program: 1.0}",
            "mix: {program: 1.0}\n    choose: likeliest",
            r"params.yaml:23: arms.program.choose: likeliest .*; set experts.base_logp: true",
        ),
        (
            "mix: {program: 1.0}",
            "mix: {program: 1.0}\n    choose: longest",
            r"params.yaml:23: arms.program.choose: .*'shortest', 'preferred', 'random' or 'likeliest'; got",
        ),
        # Sources.
        (
            "{name: worked, kind: program}",
            "{name: worked, kind: program, weight: 0}",
            r"params.yaml:19: experts.sources.0.weight: .*greater than 0; got 0",
        ),
        (
            "{name: worked, kind: program}",
            "{name: worked, kind: program, content: abc}",
            r"params.yaml:19: experts.sources.0.content: .*pattern.*; got 'abc'",
        ),
        (
            "licenses: [mit]",
            "licenses: [mit], scripts: [Klingon]",
            r"params.yaml:19: experts.scripts.0: Input should be .*'Latin'.*; got 'Klingon'",
        ),
        # Names of sources.
        (
            "sources: [{name: worked, kind: program}]",
            "sources: [{name: worked, kind: program},\n  {name: worked, kind: program}]",
            r"params.yaml:20: experts.sources.1.name: two sources are named 'worked'; rename one",
        ),
        # The schedule.
        (
            "timezone: UTC",
            "timezone: Mars/Crater",
            "params.yaml:30: schedule.timezone: no timezone 'Mars/Crater'; give an IANA name",
        ),
        ("timezone: UTC", "timezone: ../UTC", "params.yaml:30: schedule.timezone: no timezone"),
        ('"0 2 * * *"', '"0 2 * *"', r"params.yaml:30: schedule.cron: '0 2 \* \*': 4 fields; give .minute"),
        ('"0 2 * * *"', '"0 24 * * *"', r"params.yaml:30: schedule.cron: .*: hour '24' is wrong; give"),
        (
            '"0 2 * * *"',
            '"0 2 * * someday"',
            r"params.yaml:30: schedule.cron: .*weekday 'someday' is wrong",
        ),
        ('"0 2 * * *"', "nightly", r"params.yaml:30: schedule.cron: 'nightly': minute 'nightly' is wrong"),
        ('"0 2 * * *"', '"0 0 2 * * *"', r"params.yaml:30: schedule.cron: .*: 6 fields; give .minute hour"),
        ('"0 2 * * *"', '"0 2 LW * *"', r"params.yaml:30: schedule.cron: .*: day 'lw' is wrong"),
        ('"0 2 * * *"', '"0 2 * * 5l"', r"params.yaml:30: schedule.cron: .*: weekday '5l' is wrong"),
        ('"0 2 * * *"', '"r 2 * * *"', r"params.yaml:30: schedule.cron: .*: minute 'r' is wrong"),
        # An entry of `columns` may be a text or a map; the error names the key and neither alternative.
        (
            "seed: 2\n  dev",
            "seed: 2\n      columns: {problem: {read: q, jion: x}}\n  dev",
            r"params.yaml:[0-9]+: curate\.train\.1\.columns\.problem\.jion: unknown key",
        ),
        (
            "seed: 2\n  dev",
            "seed: 2\n      columns: {problem: '{q'}\n  dev",
            r"params.yaml:[0-9]+: curate\.train\.1\.columns\.problem: .*single brace at 0; write \{column\}",
        ),
        (
            "{name: worked, kind: program}",
            "{name: w, kind: teacher, file: x.jsonl, columns: {problem: [a, b]}}",
            r"params.yaml:[0-9]+: experts\.sources\.0\.columns\.problem: only `response` may be a list",
        ),
        # Two errors at once, on a line each.
        ("steps: 7", "steps: no\n  stepz: 8", "params.yaml:24: train.steps: .*\nparams.yaml:25: train.stepz"),
        # Not YAML.
        ("threads: 1", "threads: [1", "params.yaml:[0-9]+: not YAML: "),
        ("threads: 1", "seed: 1", "params.yaml:2: not YAML: found duplicate key"),
    ],
)
def test_errors_name_line_key_and_remedy(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert TEXT.count(old) == 1
    message = error_of(tmp_path, TEXT.replace(old, new))
    assert re.match(expected, message), message


@pytest.mark.parametrize(
    "cron", ["*/15 0-6,22 1,15 JAN-jun mon-fri", "59 23 31 12 7", "0 2 L * 5#2", "0 22-4 * * sat-tue"]
)
def test_valid_cron_is_valid_for_prefect(tmp_path: Path, cron: str) -> None:
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
    assert error_of(tmp_path, "").startswith("params.yaml:1: params: ")


SERVED = TEXT.replace(
    "teacher: null",
    """\
teacher:
  license: mit
  samples: 4
  max_new_tokens: 100
  budget_samples: 40
  budget_tokens: 400
  endpoint:
    url: https://host.example/api/v1/
    model: org/big
    revision: r1
    api_key_env: TEACHER_KEY""",
)


def test_a_served_teacher(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SERVED)
    teacher = load_params(path).teacher
    assert teacher and teacher.endpoint and teacher.policy is None
    assert teacher.endpoint.url == "https://host.example/api/v1", "the slash that would double goes"
    assert teacher.sampling.model_dump() == {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 100}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "  endpoint:\n",
            "  policy: {model: m}\n  endpoint:\n",
            r"14: teacher: give exactly one of policy \(sampled here\) and endpoint \(a server\)$",
        ),
        ("budget_samples: 40", "budget_samples: 3", "18: teacher.budget_samples: 3 .* one prompt.* take 4"),
        ("budget_tokens: 400", "budget_tokens: 399", "19: teacher.budget_tokens: 399 .* may take 400"),
        ("    revision: r1\n", "", "20: teacher.endpoint.revision: missing"),
        ("    model: org/big\n", "    key: sk-aBc\n    model: m\n", "22: teacher.endpoint.key: unknown key"),
        ("TEACHER_KEY", "sk-aBc123", "24: teacher.endpoint.api_key_env: give the NAME of an environment var"),
        (
            "TEACHER_KEY",
            "gsk_aBc123",
            "24: teacher.endpoint.api_key_env: give the NAME of an environment var",
        ),
        (
            "https://host",
            "https://me:sk-aBc@host",
            "21: teacher.endpoint.url: give the server's .* without us",
        ),
        ("api/v1/", "api/v1?key=sk-aBc", "21: teacher.endpoint.url: give the server's http.* key or query"),
        ("https://host", "host", "21: teacher.endpoint.url: give the server's http"),
        ("host.example", "host:port", "21: teacher.endpoint.url: give the server's http"),
        ("api/v1/", "v1/chat/completions", "21: teacher.endpoint.url: give the address up to the version"),
    ],
)
def test_invalid_endpoints(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert SERVED.count(old) == 1
    message = error_of(tmp_path, SERVED.replace(old, new))
    assert re.match(rf"params\.yaml:{expected}", message), message
    assert "aBc" not in message, "a key in the wrong place is not repeated"


def test_truncated_sampling_of_rollouts_is_refused(tmp_path: Path) -> None:
    truncated = TEXT.replace("  group_size: 4", "  top_p: 0.95\n  group_size: 4")
    message = error_of(tmp_path, truncated)
    assert re.match(r"params.yaml:16: rollout.top_p: the loss means the whole distribution", message), message


def test_an_option_that_the_method_ignores_names_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, TEXT.replace("  steps: 7\n", "  clip_ratio_c: 3.0\n  steps: 7\n"))
    assert re.match(r"params\.yaml:\d+: train\.clip_ratio_c: hpt does not read it; remove it", message)
