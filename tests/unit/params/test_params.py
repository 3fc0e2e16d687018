"""params.yaml: each error names file, line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpt_core.errors import InputError
from pipelines.params import load_params

REPO = Path(__file__).parents[3]
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


def error_of(tmp_path: Path, text: str) -> str:
    """The message of the error that loading `text` raises, without the folder."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value).replace(f"{path}:", "params.yaml:")


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


TWO = TEXT.replace(
    "  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}",
    """\
  benchmarks:
    aime: [{name: a, benchmark: aime24}, {name: b, benchmark: aime25, file: raw/aime25.json}]
    math: [{name: c, benchmark: math500}]""",
)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ("4", {"aime": 4, "math": 4}),
        ("{math: 2, aime: 16}", {"aime": 16, "math": 2}),
        ("null", {"aime": 32, "math": 1}),
    ],
)
def test_samples_are_known_for_each_benchmark(tmp_path: Path, samples: str, expected: dict[str, int]) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TWO.replace("{samples: 2}", f"{{samples: {samples}}}"))
    assert load_params(path).samples == expected


@pytest.mark.parametrize(
    ("text", "samples", "expected"),
    [
        (TWO, "{aime: 4}", r"evaluate\.samples: no number for \['math'\]; add one for each, or give one"),
        (
            TWO,
            "{aime: 4, math: 1, mat: 1}",
            r"evaluate\.samples\.mat: no such benchmark: .*\['aime', 'math'\]",
        ),
        (
            TWO,
            "{aime: 0, math: 1}",
            r"evaluate\.samples: .*give a whole number above 0, a map .*; got {'aime': 0",
        ),
        (TWO, "true", r"evaluate\.samples: .*give a whole number above 0"),
        (TWO, "{}", r"evaluate\.samples: .*a map from benchmark to such numbers, or null for published"),
        (TEXT, "null", r"evaluate\.samples: null stands for published numbers, and there is none for 'held'"),
        (
            TWO.replace("benchmark: aime25", "benchmark: math500"),
            "null",
            r"evaluate\.samples: .* none for 'aime': its sources name \['aime24', 'math500'\]",
        ),
    ],
)
def test_samples_that_do_not_fit_the_benchmarks(
    tmp_path: Path, text: str, samples: str, expected: str
) -> None:
    changed = text.replace("{samples: 2}", f"{{samples: {samples}}}")
    line = 1 + changed.splitlines().index(f"evaluate: {{samples: {samples}}}")
    assert re.match(rf"params\.yaml:{line}: {expected}", error_of(tmp_path, changed))


def test_an_unknown_benchmark_lists_the_registry(tmp_path: Path) -> None:
    message = error_of(tmp_path, TWO.replace("benchmark: math500", "benchmark: math_500"))
    place = r"params\.yaml:14: curate\.benchmarks\.math\.0\.benchmark: "
    assert re.match(place + r".*no such benchmark; there are aime24, .*gsm8k.*; got 'math_500'", message)


def test_arms_may_mix_the_kind_teacher_if_there_is_a_teacher(tmp_path: Path) -> None:
    tree = YAML(typ="safe").load(TEXT)
    tree["arms"]["both"] = {"mix": {"teacher": 1.0}}
    path = tmp_path / "params.yaml"
    YAML().dump(tree, path)
    with pytest.raises(InputError, match=r"arms\.both\.mix\.teacher: nothing gives \['teacher'\]"):
        load_params(path)
    tree["teacher"] = {"policy": {"model": "m"}, "license": "mit", "samples": 1, "max_new_tokens": 8}
    YAML().dump(tree, path)
    assert load_params(path).arms["both"].mix == {"teacher": 1.0}


def test_a_mix_of_sources_and_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = TEXT.replace("mix: {program: 1.0}", "mix: {source/worked: 0.7}\n    choose: likeliest")
    path.write_text(text.replace("licenses: [mit]", "licenses: [mit], base_logp: true"))
    params = load_params(path)
    assert params.arms["program"].mix == {"source/worked": 0.7} and params.experts.base_logp
    assert params.arms["program"].choose == "likeliest"
    path.write_text(TEXT)
    assert load_params(path).arms["program"].choose == "shortest", "as before there was a choice"


def test_a_mix_may_have_the_kind_of_a_single_response(tmp_path: Path) -> None:
    mark = "{read: ok, map: {Yes: true, No: false}}"
    response = f"[gpt4, {{read: people, kind: human, score: {mark}}}]"
    source = f"{{name: w, kind: teacher, file: x.jsonl, columns: {{response: {response}}}}}"
    text = TEXT.replace("{name: worked, kind: program}", source)
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("{program: 1.0}", "{human: 1.0}"))
    [people] = load_params(path).experts.sources[0].responses
    assert people.kind == "human" and people.score.map == {"Yes": True, "No": False}  # type: ignore[union-attr]


def test_no_source_is_named_teacher_beside_a_teacher(tmp_path: Path) -> None:
    tree = YAML(typ="safe").load(TEXT)
    tree["experts"]["sources"][0]["name"] = "teacher"
    path = tmp_path / "params.yaml"
    YAML().dump(tree, path)
    assert load_params(path).experts.sources[0].name == "teacher"
    tree["teacher"] = {"policy": {"model": "m"}, "license": "mit", "samples": 1, "max_new_tokens": 8}
    YAML().dump(tree, path)
    with pytest.raises(InputError, match=r"yaml:\d+: experts\.sources\.0\.name: 'teacher' is .*rename"):
        load_params(path)


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


def test_vllm_needs_a_single_training_process(tmp_path: Path) -> None:
    vllm = TEXT.replace("  group_size: 4", "  engine: vllm\n  group_size: 4")
    vllm = vllm.replace("  steps: 7", "  steps: 7\n  ranks: 2")
    expected = r"params.yaml:26: train.ranks: vLLM samples beside one .*; set rollout.engine: hf, or ranks: 1"
    assert re.match(expected, error_of(tmp_path, vllm))


def test_truncated_sampling_of_rollouts_is_refused(tmp_path: Path) -> None:
    truncated = TEXT.replace("  group_size: 4", "  top_p: 0.95\n  group_size: 4")
    message = error_of(tmp_path, truncated)
    assert re.match(r"params.yaml:16: rollout.top_p: the loss means the whole distribution", message), message


def test_a_formula_of_the_gate_is_checked_at_every_rate_of_the_group(tmp_path: Path) -> None:
    gate = '  gate: {kind: formula, alpha: "1 / abs(P - 5 / 12)"}\n'
    text = TEXT.replace("  steps: 7\n", "  steps: 7\n" + gate)
    (tmp_path / "params.yaml").write_text(text)
    load_params(tmp_path / "params.yaml")
    message = error_of(tmp_path, text.replace("group_size: 4", "group_size: 12"))
    assert re.search(r"train\.gate: alpha has no value at P = 0\.41\d+ \(5/12 solved\)", message)
    assert "rollout.group_size 12; correct the formula" in message


def test_an_option_that_the_method_ignores_names_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, TEXT.replace("  steps: 7\n", "  clip_ratio_c: 3.0\n  steps: 7\n"))
    assert re.match(r"params\.yaml:\d+: train\.clip_ratio_c: hpt does not read it; remove it", message)


def test_a_penalty_begins_within_the_longest_response(tmp_path: Path) -> None:
    message = error_of(tmp_path, TEXT.replace("  steps: 7\n", "  overlong: {buffer: 9}\n  steps: 7\n"))
    assert "train.overlong.buffer: 9 tokens are more than rollout.max_new_tokens, 8; lower it" in message


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (
            "- {name: a, reasoning_gym: chain_sum,",
            '- {name: a, license: "???", reasoning_gym: chain_sum,',
            "license",
        ),
        ("{name: worked, kind: program}", '{name: worked, kind: program, author: "???"}', "author"),
        ("{name: s, reasoning_gym", '{name: s, revision: "???", reasoning_gym', "revision"),
    ],
)
def test_what_hpt_inspect_left_open_has_to_be_filled_in(tmp_path: Path, old: str, new: str, key: str) -> None:
    message = error_of(tmp_path, TEXT.replace(old, new))
    assert f"fill in the {key} of source" in message and re.match(r"params\.yaml:\d+", message)
