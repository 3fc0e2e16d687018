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

from hpt_core import tables
from hpt_core.config import ExpertSource, Sampling
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import check, gsm8k_rewrite, ingest
from hpt_core.data.demonstrations.report import Ingested
from hpt_core.data.demonstrations.teacher import Teacher, as_rows, from_rows, from_samples
from hpt_core.data.problems import prompt_id
from hpt_core.errors import InputError
from hpt_core.types import Completion, Prompt, Responses, Verdict


def prompt(problem: str, answer: str, kind: str = "gsm8k") -> Prompt:
    return Prompt(prompt_id(problem), problem, answer, kind, "p", "mit")


PROMPTS = [prompt("Half of 144?", "72"), prompt("One and one?", "2"), prompt("Ten less one?", "9")]


def words(text: str) -> int:
    return len(text.split()) + 1


def admission(**more: Any) -> Eligibility:
    return Eligibility(**{"count_tokens": words, "licenses": ["mit"], "max_tokens": 20} | more)


def take(source: ExpertSource, verifier: Any, **more: Any) -> Ingested:
    return ingest(source, PROMPTS, verifier, admission(**more))


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
    source = ExpertSource(
        name="code", kind="program", author="hpt_core.data.demonstrations.program_solutions", license="mit"
    )
    result = ingest(source, prompts, last_box, Eligibility(len, ["mit"], 100))
    assert [t.response.splitlines()[0] for t in result.trajectories] == ["2 + 3 = 5", "s t o p"]
    assert {t.kind for t in result.trajectories} == {"program"}
    assert [(r.reason, r.line) for r in result.rejects] == [("no_writer", 3)]
    assert result.report == {
        "in": 3,
        "kept": 2,
        "dropped": {"no_writer": 1},
        "prompts": 3,
        "prompts_without": 1,
        "content": result.report["content"],
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
    result = from_samples(given(PROMPTS, completions, verdicts), 3, TEACHER, Eligibility(words, ["mit"], 20))
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


def test_all_that_a_teacher_got_right_can_be_kept_for_arms_to_choose_from() -> None:
    completions = [[sampled("a b c 72"), sampled("a 72"), sampled("71"), sampled("a 72")]]
    asked = given(PROMPTS[:1], completions, [[RIGHT, RIGHT, WRONG, RIGHT]])
    result = from_samples(asked, 3, replace(TEACHER, keep="all"), admission())
    assert [t.response for t in result.trajectories] == ["a b c 72", "a 72"]
    assert [json.loads(t.sampling)["sample"] for t in result.trajectories] == [0, 1]
    assert result.report["dropped"] == {"rejected_by_verifier": 1, "duplicate": 1}
    assert result.report["in"] == 4 and result.report["selection"] == "all_correct"
    assert next(r for r in result.rejects if r.reason == "duplicate").detail.endswith("sample 1")


def test_a_teacher_under_another_license_is_kept_out() -> None:
    asked = given(PROMPTS[:1], [[sampled("72")]], [[RIGHT]])
    result = from_samples(asked, 1, TEACHER, Eligibility(words, ["apache-2.0"], 20))
    assert result.report["dropped"] == {"license": 1}


def test_no_response_is_no_wrong_response() -> None:
    refused = replace(sampled(""), billed=0, error="HTTP 400: too long")
    asked = given(PROMPTS[:1], [[refused, sampled("a 72")]], [[Verdict(False, None, refused.error), RIGHT]])
    result = from_samples(asked, 1, TEACHER, Eligibility(words, ["mit"], 20))
    assert [(r.reason, r.detail) for r in result.rejects] == [("no_response", "HTTP 400: too long")]
    assert [t.response for t in result.trajectories] == ["a 72"] and result.report["in"] == 2


def test_what_a_teacher_said_survives_its_table(tmp_path: Path) -> None:
    completions = [sampled("a 72", "length"), replace(sampled(""), billed=3, error="refused"), sampled("b")]
    (asked,) = given(PROMPTS[:1], [completions], [[RIGHT, Verdict(False, None, "refused"), BROKEN]])
    tables.write(tmp_path / "asked.parquet", as_rows(asked), tables.TEACHING)
    back = from_rows(PROMPTS[0], tables.read(tmp_path / "asked.parquet", tables.TEACHING))
    less = [replace(c, token_ids=(), logprobs=(), billed=c.n_tokens) for c in completions]
    assert back == replace(asked, completions=less)


def people(path: Path, **more: Any) -> ExpertSource:
    return ExpertSource(**{"name": "people", "kind": "human", "license": "mit", "file": str(path)} | more)


def test_where_the_score_contradicts_the_verifier_it_is_counted_and_overruled(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    def scored(response: str, score: Any) -> dict[str, Any]:
        return {"problem": "Half of 144?", "response": response, "score": score}

    path = jsonl(
        "e.jsonl",
        scored("a \\boxed{72}", True),
        scored("b \\boxed{72}", 0),  # wrong, it says
        scored("c \\boxed{72}", 0.5),
        scored("d \\boxed{72}", None),  # unjudged
        scored("e \\boxed{71}", 1),  # right, it says
        scored("f \\boxed{71}", 0.9),  # so too
        scored("g \\boxed{71}", -1),
        scored("h TIMEOUT", 1),  # no one knows
        scored("i \\boxed{72}", "yes"),
    )
    result = take(people(path, columns={"score": "score"}), last_box)
    assert [t.response[0] for t in result.trajectories] == ["a", "b", "c", "d"]
    assert result.report["contradicts"] == {"marked_right_but_wrong": 2, "marked_wrong_but_right": 1}
    assert result.report["marked"] == {"right": 4, "wrong": 2}
    assert {r.line: r.reason for r in result.rejects} == {
        5: "rejected_by_verifier",
        6: "rejected_by_verifier",
        7: "rejected_by_verifier",
        8: "verifier_error",
        9: "wrong_type",
    }
    told = {r.line: r.detail for r in result.rejects}
    assert told[5].endswith("; marked right") and "marked" not in told[7]
    assert "contradicts" not in take(people(path), last_box).report, "nothing is marked"


def test_a_mark_of_keep_can_be_wrong_too(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{71}"), row("One and one?", "\\boxed{2}", keep=False))
    report = take(people(path, columns={"keep": "keep"}), last_box).report
    assert report["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 0}
    assert report["dropped"] == {"marked_wrong_by_source": 1, "rejected_by_verifier": 1}


def test_sources_of_a_kind_repeat_each_other_once(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"), row("One and one?", "\\boxed{2}"))
    other = jsonl("o.jsonl", row("Half of 144?", " \\boxed{72} "), row("Half of 144?", "72: \\boxed{72}"))
    shared = admission()
    first = ingest(people(path), PROMPTS, last_box, shared)
    second = ingest(people(other, name="others"), PROMPTS, last_box, shared)
    machine = ingest(people(other, name="model", kind="teacher"), PROMPTS, last_box, shared)
    assert len(first.trajectories) == 2
    assert [t.response for t in second.trajectories] == ["72: \\boxed{72}"]
    [repeated] = second.rejects
    assert (repeated.reason, repeated.line, repeated.source) == ("duplicate", 1, "others")
    assert repeated.detail.endswith(f"stands at {path}:1 of source 'people'")
    assert len(machine.trajectories) == 2, "an arm of teachers does not lose what people wrote as well"


def test_repeats_that_are_marked_otherwise_are_named(jsonl: Callable[..., Path], last_box: Any) -> None:
    rows = [{"problem": "Half of 144?", "response": "\\boxed{72}", "ok": ok} for ok in (True, False, True)]
    path = jsonl("e.jsonl", *rows)
    result = take(people(path, columns={"score": "ok"}), last_box)
    assert {r.line: r.reason for r in result.rejects} == {2: "conflicting_duplicate", 3: "duplicate"}
    assert result.rejects[0].detail.endswith(f"stands at {path}:1; there it is marked right, here wrong")
    assert result.report["in"] == 3 == result.report["kept"] + sum(result.report["dropped"].values())


def test_a_source_that_changed_under_its_name_is_told(jsonl: Callable[..., Path], last_box: Any) -> None:
    def content(*rows: dict[str, Any] | bytes, **more: Any) -> str:
        return str(take(people(jsonl("e.jsonl", *rows), **more), last_box).report["content"])

    one, two = row("Half of 144?", "\\boxed{72}"), row("One and one?", "\\boxed{2}")
    known = content(one, two)
    assert known == content(one, two, content=known) == content(one | {"unread": 1}, two)
    for rows in ((one,), (two, one), (one, two | {"response": "\\boxed{3}"}), (one, two, b"{")):
        assert content(*rows) != known
    with pytest.raises(
        InputError, match=rf"'people' has changed under the same name.*{known}; restore the so"
    ):
        content(one, content=known)


def test_responses_in_another_script_are_left_out(jsonl: Callable[..., Path], last_box: Any) -> None:
    said = ["\u6c42\u548c\u5f97 \\boxed{72}", "D\u00e9j\u00e0 vu: \\boxed{72}", "\\boxed{72}"]
    path = jsonl("e.jsonl", *(row("Half of 144?", response) for response in said))
    assert len(take(people(path), last_box).trajectories) == 3
    result = take(people(path), last_box, scripts=["Latin"])
    assert [t.response for t in result.trajectories] == said[1:]
    [reject] = result.rejects
    assert (reject.line, reject.reason) == (1, "other_script")
    assert "experts.scripts ['Latin']" in reject.detail


def test_a_source_without_a_usable_row_is_refused_before_anything_is_spent(
    jsonl: Callable[..., Path],
) -> None:
    fine = people(jsonl("e.jsonl", b"{", row("Half of 144?", "\\boxed{72}")))
    check([fine, ExpertSource(name="code", kind="program", license="mit")])
    bad = people(jsonl("b.jsonl", {"q": "Half of 144?", "response": "r"}, b"{"), name="columns")
    empty = people(jsonl("n.jsonl"), name="empty")
    with pytest.raises(InputError) as raised:
        check([fine, bad, empty])
    first, second = str(raised.value).splitlines()
    assert "'columns'" in first and "b.jsonl:1: missing_column: no 'problem'" in first
    assert "none of the first 2 rows is usable; correct `file`, `hub` or `columns`" in first
    assert "'empty'" in second and "n.jsonl has no rows" in second


def test_the_weight_of_a_source_is_that_of_its_trajectories(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))
    assert [t.weight for t in take(people(path, weight=2.5), last_box).trajectories] == [2.5]
    assert [t.weight for t in take(people(path), last_box).trajectories] == [1.0]


def test_a_missing_verdict_is_an_error_not_a_drop() -> None:
    with pytest.raises(ValueError, match="shorter"):
        asked = given(PROMPTS[:1], [[sampled("72"), sampled("72")]], [[RIGHT]])
        from_samples(asked, 1, TEACHER, Eligibility(words, ["mit"], 20))
