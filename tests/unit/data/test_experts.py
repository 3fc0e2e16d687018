"""Experts: matched, verified whatever the file claims, each drop with its reason, provenance kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import ExpertSource, Sampling
from hpt_core.data import tables
from hpt_core.data.experts import Admission, Ingested, gsm8k_rewrite, ingest
from hpt_core.data.problems import prompt_id
from hpt_core.data.teacher import Teacher, as_rows, from_rows, from_samples
from hpt_core.types import Completion, Prompt, Responses, Verdict


def prompt(problem: str, answer: str, kind: str = "gsm8k") -> Prompt:
    return Prompt(prompt_id(problem), problem, answer, kind, "p", "mit")


PROMPTS = [prompt("Half of 144?", "72"), prompt("One and one?", "2"), prompt("Ten less one?", "9")]


def words(text: str) -> int:
    return len(text.split()) + 1


def take(source: ExpertSource, verifier: Any, **more: Any) -> Ingested:
    limits: dict[str, Any] = {"count_tokens": words, "licenses": ["mit"], "max_tokens": 20} | more
    return ingest(source, PROMPTS, verifier, **limits)


def row(problem: str, response: str, keep: bool = True) -> dict[str, Any]:
    return {"problem": problem, "response": response, "keep": keep}


def test_each_row_is_a_trajectory_or_a_reject_with_its_line(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    path = jsonl(
        "e.jsonl",
        row("Half of\n144?", "It is \\boxed{72}. "),
        row("Half of 144?", "It is \\boxed{71}."),
        row("Half of 144?", "TIMEOUT"),
        row("Never seen?", "\\boxed{1}"),
        row("One and one?", "Two: \\boxed{2}", keep=False),
        row("One and one?", " "),
        row("One and one?", "so " * 20 + "\\boxed{2}"),
        row("Half of 144?", "It is \\boxed{72}."),
        b"{",
        {"problem": "One and one?"},
        row("One and one?", "It is \\boxed{2}."),
    )
    source = ExpertSource(
        name="people", kind="human", author="crowd", license="mit", file=str(path), columns={"keep": "keep"}
    )
    result = take(source, last_box)
    told = {reject.line: reject.reason for reject in result.rejects}
    assert told == {
        2: "rejected_by_verifier",
        3: "verifier_error",
        4: "unknown_prompt",
        5: "marked_wrong_by_source",
        6: "empty_response",
        7: "too_long",
        8: "duplicate",
        9: "malformed_json",
        10: "missing_column",
    }
    details = {reject.line: reject.detail for reject in result.rejects}
    assert "'71'" in details[2] and "'72'" in details[2]
    assert details[3] == "grading took over 5.0 s"
    assert f"{path}:1" in details[8]
    assert all(reject.file == str(path) for reject in result.rejects)
    assert [t.response for t in result.trajectories] == ["It is \\boxed{72}.", "It is \\boxed{2}."]
    first = result.trajectories[0]
    assert (first.prompt_id, first.kind, first.source, first.author) == (
        PROMPTS[0].prompt_id,
        "human",
        "people",
        "crowd",
    )
    assert (first.verified, first.n_tokens, first.sampling, first.license) == (True, 4, "{}", "mit")
    assert first.sha256 == hashlib.sha256(first.response.encode()).hexdigest()
    report = result.report
    assert report["in"] == 11 == report["kept"] + sum(report["dropped"].values())
    assert report["dropped"] == dict(Counter(told.values()))
    assert (report["prompts"], report["prompts_without"]) == (3, 1)


def test_the_verifier_sees_the_prompts_own_reference(jsonl: Callable[..., Path], last_box: Any) -> None:
    liar = row("Half of 144?", "\\boxed{1}") | {"answer": "1", "correct": True}
    result = take(
        ExpertSource(name="l", kind="human", license="mit", file=str(jsonl("l.jsonl", liar))), last_box
    )
    assert last_box.seen == [("\\boxed{1}", "72", "gsm8k")]
    assert result.trajectories == []


def test_a_license_that_is_not_on_the_list_keeps_all_out(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))
    result = take(ExpertSource(name="x", kind="human", license="cc-by-nc", file=str(path)), last_box)
    assert [(r.reason, r.line) for r in result.rejects] == [("license", 1)]
    assert "'cc-by-nc'" in result.rejects[0].detail and "experts.licenses" in result.rejects[0].detail


def test_identity_is_prompt_kind_source_and_response(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))

    def ident(**more: Any) -> str:
        fields = {"name": "x", "kind": "human", "license": "mit", "file": str(path)} | more
        (trajectory,) = take(ExpertSource(**fields), last_box).trajectories
        return trajectory.trajectory_id

    assert ident() == ident() == ident(author="someone else")
    assert len({ident(), ident(name="y"), ident(kind="teacher")}) == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "Sold 48/2 = <<48/2=24>>24 clips.\nSold 48+24 = $<<48+24=72>>72.\n#### 72",
            "Sold 48/2 = 24 clips.\nSold 48+24 = $72.\nThe answer is \\boxed{72}.",
        ),
        ("So 18\r\nA: $1,018.\n", "So 18\nThe answer is \\boxed{1,018}."),
        ("A: the first step\nno answer", "A: the first step\nno answer"),
        ("", ""),
    ],
)
def test_gsm8k_rewrite(before: str, after: str) -> None:
    assert gsm8k_rewrite(before) == after


def test_program_sources_write_for_every_prompt_and_count_those_without_a_writer(last_box: Any) -> None:
    prompts = [
        prompt("What follows: 2 + 3 - 4 =", "1", "reasoning_gym:chain_sum"),
        prompt(
            "Spell this word backward (example: sun -> nus): stop", "pots", "reasoning_gym:spell_backward"
        ),
        prompt("Half of 144?", "72"),
    ]
    source = ExpertSource(name="code", kind="program", author="hpt_core.data.worked", license="mit")
    result = ingest(source, prompts, last_box, len, ["mit"], 100)
    assert [t.response.splitlines()[0] for t in result.trajectories] == ["2 + 3 = 5", "s t o p"]
    assert {t.kind for t in result.trajectories} == {"program"}
    assert [(r.reason, r.line) for r in result.rejects] == [("no_writer", 3)]
    assert result.report == {
        "in": 3,
        "kept": 2,
        "dropped": {"no_writer": 1},
        "prompts": 3,
        "prompts_without": 1,
    }


def test_trajectories_and_rejects_fit_their_tables(
    jsonl: Callable[..., Path], last_box: Any, tmp_path: Path
) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"), b"\xff")
    result = take(ExpertSource(name="x", kind="human", license="mit", file=str(path)), last_box)
    tables.write(tmp_path / "experts.parquet", map(tables.as_row, result.trajectories), tables.EXPERTS)
    assert tables.read_experts(tmp_path / "experts.parquet") == result.trajectories
    rows = [reject.quarantine("experts") for reject in result.rejects]
    tables.write(tmp_path / "quarantine.parquet", rows, tables.QUARANTINE)
    (back,) = tables.read(tmp_path / "quarantine.parquet")
    assert (back["stage"], back["line"], back["reason"]) == ("experts", 2, "not_utf8")


TEACHER = Teacher(
    "big", "org/model@abc", "mit", Sampling(temperature=0.7, max_new_tokens=64), 5, "sha256:0", "Be brief."
)


def sampled(response: str, finish: Any = "stop") -> Completion:
    return Completion(response, (1,), (-0.1,), finish)


def given(
    prompts: list[Prompt], completions: list[list[Completion]], verdicts: list[list[Verdict]]
) -> list[Responses]:
    return [Responses(*parts) for parts in zip(prompts, completions, verdicts, strict=True)]


RIGHT, WRONG, BROKEN = (
    Verdict(True, "72"),
    Verdict(False, "71"),
    Verdict(False, None, "grading took over 5.0 s"),
)


def test_a_teacher_gives_its_shortest_correct_sample() -> None:
    completions = [
        [
            sampled("a b c d 72"),
            sampled("short 71"),
            sampled("a 72"),
            sampled("b 72"),
            sampled("72", "length"),
        ],
        [sampled("71"), sampled("?")],
        [sampled("so " * 30)],
    ]
    verdicts = [[RIGHT, WRONG, RIGHT, RIGHT, RIGHT], [WRONG, BROKEN], [RIGHT]]
    result = from_samples(given(PROMPTS, completions, verdicts), 3, TEACHER, Admission(words, ["mit"], 20))
    (best,) = result.trajectories
    assert (best.response, best.prompt_id, best.n_tokens) == ("a 72", PROMPTS[0].prompt_id, 3)
    assert (best.kind, best.source, best.author, best.verified) == ("teacher", "big", "org/model@abc", True)
    asked = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 64, "seed": 5, "sample": 2}
    assert json.loads(best.sampling) == asked | {"chat_template": "sha256:0", "system_prompt": "Be brief."}
    dropped = {
        "rejected_by_verifier": 2,
        "verifier_error": 1,
        "truncated": 1,
        "not_shortest": 2,
        "too_long": 1,
    }
    assert result.report["dropped"] == dropped
    assert Counter(reject.reason for reject in result.rejects) == dropped
    assert result.report["in"] == 8 == result.report["kept"] + sum(dropped.values())
    assert (result.report["prompts"], result.report["prompts_without"]) == (3, 2)
    assert result.report["selection"] == "shortest_correct"


def test_a_teacher_under_another_license_is_kept_out() -> None:
    asked = given(PROMPTS[:1], [[sampled("72")]], [[RIGHT]])
    result = from_samples(asked, 1, TEACHER, Admission(words, ["apache-2.0"], 20))
    assert result.report["dropped"] == {"license": 1}


def test_no_response_is_no_wrong_response() -> None:
    refused = replace(sampled(""), billed=0, error="HTTP 400: too long")
    asked = given(PROMPTS[:1], [[refused, sampled("a 72")]], [[Verdict(False, None, refused.error), RIGHT]])
    result = from_samples(asked, 1, TEACHER, Admission(words, ["mit"], 20))
    assert [(r.reason, r.detail) for r in result.rejects] == [("no_response", "HTTP 400: too long")]
    assert [t.response for t in result.trajectories] == ["a 72"] and result.report["in"] == 2


def test_what_a_teacher_said_survives_its_table(tmp_path: Path) -> None:
    completions = [sampled("a 72", "length"), replace(sampled(""), billed=3, error="refused"), sampled("b")]
    (asked,) = given(PROMPTS[:1], [completions], [[RIGHT, Verdict(False, None, "refused"), BROKEN]])
    tables.write(tmp_path / "asked.parquet", as_rows(asked), tables.TEACHING)
    back = from_rows(PROMPTS[0], tables.read(tmp_path / "asked.parquet", tables.TEACHING))
    less = [replace(c, token_ids=(), logprobs=(), billed=c.n_tokens) for c in completions]
    assert back == replace(asked, completions=less)


def test_a_missing_verdict_is_an_error_not_a_drop() -> None:
    with pytest.raises(ValueError, match="shorter"):
        asked = given(PROMPTS[:1], [[sampled("72"), sampled("72")]], [[RIGHT]])
        from_samples(asked, 1, TEACHER, Admission(words, ["mit"], 20))
