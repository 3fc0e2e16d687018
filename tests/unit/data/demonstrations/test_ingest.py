"""Ingestion: responses are matched and verified whatever the file claims; each drop has its reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from three_prompts import PROMPTS, eligibility, prompt

from hpt_core import tables
from hpt_core.config import ExpertSource
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import check, gsm8k_rewrite, ingest, think_rewrite
from hpt_core.data.demonstrations.report import Ingested
from hpt_core.errors import InputError


def ingest_rows(source: ExpertSource, verifier: Any, **fields: Any) -> Ingested:
    return ingest(source, PROMPTS, verifier, eligibility(**fields))


def row(problem: str, response: str, keep: bool = True) -> dict[str, Any]:
    return {"problem": problem, "response": response, "keep": keep}


def test_wrong_responses_are_kept_on_request_and_say_so(jsonl: Callable[..., Path], last_box: Any) -> None:
    rows = [row("Half of 144?", f"It is \\boxed{{{n}}}.") for n in (72, 71)]
    path = jsonl("e.jsonl", *rows, row("Half of 144?", "TIMEOUT"), row("Never seen?", "\\boxed{1}"))
    source = ExpertSource(name="people", kind="human", license="mit", file=str(path))
    result = ingest(source, PROMPTS, last_box, eligibility(), wrong=True)
    [right], [mistaken] = result.trajectories, result.wrong
    assert (mistaken.response, mistaken.source, mistaken.verified) == (
        "It is \\boxed{71}.",
        "people-wrong",
        False,
    )
    assert right.verified and mistaken.kind == "human"
    unasked = ingest_rows(source, last_box)
    assert unasked.wrong == [] and result.report == {**unasked.report, "wrong": 1}


def test_a_program_writes_slips_on_request(last_box: Any) -> None:
    problem, kind = "Spell this word backward (example: sun -> nus): stop", "reasoning_gym:spell_backward"
    source = ExpertSource(name="worked", kind="program", license="mit", wording="marked")
    prompts = [prompt(problem, "pots", kind)]
    result = ingest(source, prompts, last_box, eligibility(), wrong=True)
    [right], [mistaken] = result.trajectories, result.wrong
    assert right.response == "s-t-o-p\np-o-t-s\n\\boxed{pots}" != mistaken.response
    assert mistaken.source == "worked-wrong" and result.report["dropped"] == {"rejected_by_verifier": 1}


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
    result = ingest_rows(source, last_box)
    reasons = {reject.line: reject.reason for reject in result.rejects}
    assert reasons == {
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
    assert report["dropped"] == dict(Counter(reasons.values()))
    assert (report["prompts"], report["prompts_without"]) == (3, 1)


def test_the_verifier_compares_with_the_reference_of_the_prompt(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    wrong = row("Half of 144?", "\\boxed{1}") | {"answer": "1", "correct": True}
    result = ingest_rows(
        ExpertSource(name="l", kind="human", license="mit", file=str(jsonl("l.jsonl", wrong))), last_box
    )
    assert last_box.items == [("\\boxed{1}", "72", "gsm8k")]
    assert result.trajectories == []


def test_a_license_that_is_not_listed_excludes_all_rows(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))
    result = ingest_rows(ExpertSource(name="x", kind="human", license="cc-by-nc", file=str(path)), last_box)
    assert [(r.reason, r.line) for r in result.rejects] == [("license", 1)]
    assert "'cc-by-nc'" in result.rejects[0].detail and "experts.licenses" in result.rejects[0].detail


def test_the_trajectory_id_depends_on_prompt_kind_source_and_response(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))

    def identify(**changes: Any) -> str:
        fields = {"name": "x", "kind": "human", "license": "mit", "file": str(path)} | changes
        (trajectory,) = ingest_rows(ExpertSource(**fields), last_box).trajectories
        return trajectory.trajectory_id

    assert identify() == identify() == identify(author="someone else")
    assert len({identify(), identify(name="y"), identify(kind="teacher")}) == 3


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "<|begin_of_thought|>\n\nHalf of 144.\n\n<|end_of_thought|>\n\n"
            "<|begin_of_solution|>\n\n\\boxed{72}\n\n<|end_of_solution|>",
            "<think>\nHalf of 144.\n</think>\n\n\\boxed{72}",
        ),
        ("<think>\nHalf of 144.\n</think>\n\n\\boxed{72}", "<think>\nHalf of 144.\n</think>\n\n\\boxed{72}"),
        ("<|begin_of_thought|> never closed \\boxed{72}", "<|begin_of_thought|> never closed \\boxed{72}"),
    ],
)
def test_think_rewrite(before: str, after: str) -> None:
    assert think_rewrite(before) == after


def test_program_sources_write_for_every_prompt_and_count_those_without_a_writer(last_box: Any) -> None:
    prompts = [
        prompt("What follows: 2 + 3 - 4 =", "1", "reasoning_gym:chain_sum"),
        prompt(
            "Spell this word backward (example: sun -> nus): stop", "pots", "reasoning_gym:spell_backward"
        ),
        prompt("Half of 144?", "72"),
    ]
    source = ExpertSource(name="code", kind="program", author="hpt_core.data.worked", license="mit")
    result = ingest(source, prompts, last_box, Eligibility(len, ["mit"], 100))
    assert [t.response.splitlines()[0] for t in result.trajectories] == ["2 + 3 = 5", "s t o p"]
    assert {t.kind for t in result.trajectories} == {"program"}
    [reject] = result.rejects
    assert (reject.reason, reject.line) == ("no_writer", 3)
    assert reject.detail == "hpt_core.data.worked writes no solution of gsm8k"
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
    result = ingest_rows(ExpertSource(name="x", kind="human", license="mit", file=str(path)), last_box)
    tables.write(tmp_path / "experts.parquet", map(tables.as_row, result.trajectories), tables.EXPERTS)
    assert tables.read_experts(tmp_path / "experts.parquet") == result.trajectories
    rows = [reject.quarantine("experts") for reject in result.rejects]
    tables.write(tmp_path / "quarantine.parquet", rows, tables.QUARANTINE)
    (read,) = tables.read(tmp_path / "quarantine.parquet")
    assert (read["stage"], read["line"], read["reason"]) == ("experts", 2, "not_utf8")


def people(path: Path, **keys: Any) -> ExpertSource:
    return ExpertSource(**{"name": "people", "kind": "human", "license": "mit", "file": str(path)} | keys)


def test_a_score_that_contradicts_the_verifier_is_counted_and_ignored(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    def scored(response: str, score: Any) -> dict[str, Any]:
        return {"problem": "Half of 144?", "response": response, "score": score}

    path = jsonl(
        "e.jsonl",
        scored("a \\boxed{72}", True),
        scored("b \\boxed{72}", 0),  # marked wrong
        scored("c \\boxed{72}", 0.5),
        scored("d \\boxed{72}", None),  # not marked
        scored("e \\boxed{71}", 1),  # marked right
        scored("f \\boxed{71}", 0.9),  # marked right
        scored("g \\boxed{71}", -1),
        scored("h TIMEOUT", 1),  # not verified
        scored("i \\boxed{72}", "yes"),
    )
    result = ingest_rows(people(path, columns={"score": "score"}), last_box)
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
    details = {r.line: r.detail for r in result.rejects}
    assert details[5].endswith("; marked right") and "marked" not in details[7]
    assert "contradicts" not in ingest_rows(people(path), last_box).report, "the source has no marks"


def test_a_mark_of_keep_can_contradict_the_verifier_too(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{71}"), row("One and one?", "\\boxed{2}", keep=False))
    report = ingest_rows(people(path, columns={"keep": "keep"}), last_box).report
    assert report["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 0}
    assert report["dropped"] == {"marked_wrong_by_source": 1, "rejected_by_verifier": 1}


def test_repeats_are_dropped_across_sources_of_one_kind_only(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"), row("One and one?", "\\boxed{2}"))
    other = jsonl("o.jsonl", row("Half of 144?", " \\boxed{72} "), row("Half of 144?", "72: \\boxed{72}"))
    shared = eligibility()
    first = ingest(people(path), PROMPTS, last_box, shared)
    second = ingest(people(other, name="others"), PROMPTS, last_box, shared)
    teacher = ingest(people(other, name="model", kind="teacher"), PROMPTS, last_box, shared)
    assert len(first.trajectories) == 2
    assert [t.response for t in second.trajectories] == ["72: \\boxed{72}"]
    [duplicate] = second.rejects
    assert (duplicate.reason, duplicate.line, duplicate.source) == ("duplicate", 1, "others")
    assert duplicate.detail.endswith(f"stands at {path}:1 of source 'people'")
    assert len(teacher.trajectories) == 2, "an arm of teachers must not lose responses that people wrote too"


def test_repeats_with_another_mark_are_conflicting_duplicates(
    jsonl: Callable[..., Path], last_box: Any
) -> None:
    rows = [{"problem": "Half of 144?", "response": "\\boxed{72}", "ok": ok} for ok in (True, False, True)]
    path = jsonl("e.jsonl", *rows)
    result = ingest_rows(people(path, columns={"score": "ok"}), last_box)
    assert {r.line: r.reason for r in result.rejects} == {2: "conflicting_duplicate", 3: "duplicate"}
    assert result.rejects[0].detail.endswith(f"stands at {path}:1; there it is marked right, here wrong")
    assert result.report["in"] == 3 == result.report["kept"] + sum(result.report["dropped"].values())


def test_a_source_that_changed_under_its_name_is_refused(jsonl: Callable[..., Path], last_box: Any) -> None:
    def content(*rows: dict[str, Any] | bytes, **keys: Any) -> str:
        return str(ingest_rows(people(jsonl("e.jsonl", *rows), **keys), last_box).report["content"])

    one, two = row("Half of 144?", "\\boxed{72}"), row("One and one?", "\\boxed{2}")
    original = content(one, two)
    assert original == content(one, two, content=original) == content(one | {"unread": 1}, two)
    for rows in ((one,), (two, one), (one, two | {"response": "\\boxed{3}"}), (one, two, b"{")):
        assert content(*rows) != original
    with pytest.raises(
        InputError, match=rf"'people' has changed under the same name.*{original}; restore the so"
    ):
        content(one, content=original)


def test_responses_in_another_script_are_dropped(jsonl: Callable[..., Path], last_box: Any) -> None:
    responses = ["\u6c42\u548c\u5f97 \\boxed{72}", "D\u00e9j\u00e0 vu: \\boxed{72}", "\\boxed{72}"]
    path = jsonl("e.jsonl", *(row("Half of 144?", response) for response in responses))
    assert len(ingest_rows(people(path), last_box).trajectories) == 3
    result = ingest_rows(people(path), last_box, scripts=["Latin"])
    assert [t.response for t in result.trajectories] == responses[1:]
    [reject] = result.rejects
    assert (reject.line, reject.reason) == (1, "other_script")
    assert "experts.scripts ['Latin']" in reject.detail


def test_a_source_without_a_usable_row_is_refused_before_any_work(
    jsonl: Callable[..., Path],
) -> None:
    usable = people(jsonl("e.jsonl", b"{", row("Half of 144?", "\\boxed{72}")))
    check([usable, ExpertSource(name="code", kind="program", license="mit")])
    bad = people(jsonl("b.jsonl", {"q": "Half of 144?", "response": "r"}, b"{"), name="columns")
    empty = people(jsonl("n.jsonl"), name="empty")
    with pytest.raises(InputError) as raised:
        check([usable, bad, empty])
    first, second = str(raised.value).splitlines()
    assert "'columns'" in first and "b.jsonl:1: missing_column: no 'problem'" in first
    assert "none of the first 2 rows is usable; correct `file`, `hub` or `columns`" in first
    assert "'empty'" in second and "n.jsonl has no rows" in second


def test_trajectories_have_the_weight_of_their_source(jsonl: Callable[..., Path], last_box: Any) -> None:
    path = jsonl("e.jsonl", row("Half of 144?", "\\boxed{72}"))
    assert [t.weight for t in ingest_rows(people(path, weight=2.5), last_box).trajectories] == [2.5]
    assert [t.weight for t in ingest_rows(people(path), last_box).trajectories] == [1.0]


def test_several_responses_of_a_row_keep_who_wrote_each(jsonl: Callable[..., Path], last_box: Any) -> None:
    rows = [
        {"q": "Half of 144?", "human": "h \\boxed{72}", "r1": "r \\boxed{72}", "grade": "No", "by": "gpt-4"},
        {"q": "One and one?", "human": "h \\boxed{2}", "r1": "r \\boxed{3}", "grade": "Yes", "by": "o1"},
    ]
    path = jsonl("e.jsonl", *rows)
    response = [
        {"read": "human", "author": "crowd", "kind": "human"},
        {"read": "r1", "score": {"read": "grade", "map": {"Yes": True, "No": False}}},
    ]
    columns = {"problem": "q", "response": response, "author": "by"}
    result = ingest_rows(people(path, kind="teacher", columns=columns), last_box)
    assert [(t.response, t.kind, t.author, t.source) for t in result.trajectories] == [
        ("h \\boxed{72}", "human", "crowd", "people"),
        ("r \\boxed{72}", "teacher", "gpt-4", "people"),
        ("h \\boxed{2}", "human", "crowd", "people"),
    ]
    for trajectory in result.trajectories:
        assert trajectory.sha256 == hashlib.sha256(trajectory.response.encode()).hexdigest()
    [wrong] = result.rejects
    assert (wrong.line, wrong.reason) == (2, "rejected_by_verifier") and "marked right" in wrong.detail
    assert json.loads(wrong.row) == {
        "sample": 1,
        "q": "One and one?",
        "r1": "r \\boxed{3}",
        "grade": "Yes",
        "by": "o1",
    }
    assert result.report["in"] == 4
    assert result.report["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 1}


def test_turns_that_are_not_used_are_counted(jsonl: Callable[..., Path], last_box: Any) -> None:
    def chat(*turns: tuple[str, str]) -> dict[str, Any]:
        return {"messages": [{"from": who, "value": text} for who, text in turns]}

    short = [("human", "Half of 144?"), ("gpt", "\\boxed{72}")]
    path = jsonl(
        "e.jsonl", chat(("system", "Think."), *short), chat(("human", "Hi."), ("gpt", "Hello."), *short)
    )
    columns = {"problem": "messages", "response": "messages"}
    report = ingest_rows(people(path, columns=columns), last_box).report
    assert report["unused_turns"] == {"earlier": 1, "system": 1}
    assert (
        "unused_turns"
        not in ingest_rows(people(jsonl("s.jsonl", chat(*short)), columns=columns), last_box).report
    )


def test_thinking_that_a_source_says_nothing_of_stops_the_stage(jsonl: Callable[..., Path]) -> None:
    reply = {"role": "assistant", "content": "\\boxed{72}", "reasoning_content": "Half of 144."}
    path = jsonl("e.jsonl", {"messages": [{"role": "user", "content": "Half of 144?"}, reply]})
    columns = {"problem": "messages", "response": "messages"}
    with pytest.raises(InputError, match=r"e\.jsonl:1: thinking_not_said: .*turns: \{thinking: keep\}"):
        check([people(path, columns=columns)])
    check([people(path, columns=columns, turns={"thinking": "drop"})])
