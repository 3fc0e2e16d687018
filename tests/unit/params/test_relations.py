"""Sections of params.yaml that do not fit together: the error names the line of the key to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_params import TEXT, error_of

from hpt_core.errors import InputError
from pipelines.params import load_params

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


def test_ranks_are_whole_engines(tmp_path: Path) -> None:
    ranks = TEXT.replace("  steps: 7", "  steps: 7\n  ranks: 4")
    for engine, group, refused in (
        ("vllm", 3, True),
        ("vllm", 8, True),
        ("vllm", 2, False),
        ("hf", 3, False),
    ):
        text = ranks.replace(
            "  group_size: 4", f"  engine: {engine}\n  vllm: {{tensor_parallel: {group}}}\n  group_size: 4"
        )
        if not refused:
            (tmp_path / "params.yaml").write_text(text)
            load_params(tmp_path / "params.yaml")
            continue
        expected = (
            rf"params.yaml:\d+: rollout.vllm.tensor_parallel: {group} does not divide train.ranks, 4; give"
        )
        assert re.match(expected, error_of(tmp_path, text))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("ranks: 4\n  context_parallel: 3", "3 does not divide train.ranks, 4; give a number that does"),
        ("ranks: 4\n  context_parallel: 2\n  packing: true", "ranks cannot share packed rows; set it to 1"),
        ("ranks: 4\n  context_parallel: 2", None),
    ],
)
def test_ranks_are_whole_contexts(tmp_path: Path, keys: str, message: str | None) -> None:
    text = TEXT.replace("  steps: 7", f"  steps: 7\n  {keys}")
    if message is not None:
        assert re.match(rf"params.yaml:\d+: train.context_parallel: {message}", error_of(tmp_path, text))
        return
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml").train.context_parallel == 2


def test_bfloat16_is_gathered_where_all_compute_in_it(tmp_path: Path) -> None:
    gathered = TEXT.replace("  steps: 7", "  steps: 7\n  gathered_dtype: bfloat16")
    message = r"train.gathered_dtype: bfloat16 needs train.autocast and rollout.dtype: bfloat16, which are"
    assert re.search(rf"{message} float32 and float32", error_of(tmp_path, gathered))
    half = gathered.replace("  steps: 7", "  steps: 7\n  autocast: bfloat16")
    assert re.search(rf"{message} bfloat16 and float32", error_of(tmp_path, half))
    fits = half.replace("  group_size: 4", "  dtype: bfloat16\n  group_size: 4")
    (tmp_path / "params.yaml").write_text(fits)
    assert load_params(tmp_path / "params.yaml").train.gathered_dtype == "bfloat16"


def test_a_replica_holds_a_whole_copy(tmp_path: Path) -> None:
    text = TEXT.replace(
        "  group_size: 4", "  placement: separate\n  vllm: {tensor_parallel: 2}\n  group_size: 4"
    )
    assert re.search(
        r"rollout\.vllm\.tensor_parallel: a replica .* set 1, or rollout", error_of(tmp_path, text)
    )


def test_adapters_that_are_served_are_trained(tmp_path: Path) -> None:
    def of(engine: str, lora: str) -> str:
        served = f"  engine: {engine}\n  vllm: {{lora: true}}\n  group_size: 4"
        return TEXT.replace("  group_size: 4", served).replace("  steps: 7", f"  steps: 7\n  lora: {lora}")

    for engine, lora, expected in (
        (
            "vllm",
            "null",
            r"rollout\.vllm\.lora: there are no adapters to serve; set train\.lora, or remove it",
        ),
        ("hf", "{}", r"rollout\.vllm\.lora: rollout\.engine hf samples from merged weights; set it to vllm"),
        ("vllm", "{rank: 513}", r"train\.lora\.rank: vLLM serves adapters up to rank 512; lower it, or set"),
    ):
        assert re.match(rf"params\.yaml:\d+: {expected}", error_of(tmp_path, of(engine, lora)))
    (tmp_path / "params.yaml").write_text(of("vllm", "{rank: 512}"))
    assert load_params(tmp_path / "params.yaml").rollout.vllm.lora


def test_a_formula_of_the_gate_is_checked_at_every_rate_of_the_group(tmp_path: Path) -> None:
    gate = '  gate: {kind: formula, alpha: "1 / abs(P - 5 / 12)"}\n'
    text = TEXT.replace("  steps: 7\n", "  steps: 7\n" + gate)
    (tmp_path / "params.yaml").write_text(text)
    load_params(tmp_path / "params.yaml")
    message = error_of(tmp_path, text.replace("group_size: 4", "group_size: 12"))
    assert re.search(r"train\.gate: alpha has no value at P = 0\.41\d+ \(5/12 solved\)", message)
    assert "rollout.group_size 12; correct the formula" in message


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


@pytest.mark.parametrize(
    ("pool", "message"),
    [("hpt", "hpt is the pool of the flow itself; name another pool"), ("a/b", "a pool's name has letters")],
)
def test_a_pool_of_stages_is_another_than_the_flows(tmp_path: Path, pool: str, message: str) -> None:
    error = error_of(tmp_path, TEXT + f"pools:\n  train: gpu\n  base: {pool}\n")
    assert f"params.yaml:{TEXT.count(chr(10)) + 3}: pools.base: {message}" in error
