"""Samples of a teacher: which become trajectories, and why the others do not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from three_prompts import PROMPTS, count_words, eligibility

from hpt_core import tables
from hpt_core.config import Sampling
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.teacher import Teacher, from_samples
from hpt_core.data.demonstrations.teacher_rows import as_rows, from_rows
from hpt_core.types import Completion, Prompt, Responses, Verdict

TEACHER = Teacher(
    "big", "org/model@abc", "mit", Sampling(temperature=0.7, max_new_tokens=64), 5, "sha256:0", "Be brief."
)


def sampled(response: str, finish: Any = "stop") -> Completion:
    return Completion(response, (1,), (-0.1,), finish)


def responses_to(
    prompts: list[Prompt], completions: list[list[Completion]], verdicts: list[list[Verdict]]
) -> list[Responses]:
    return [Responses(*parts) for parts in zip(prompts, completions, verdicts, strict=True)]


RIGHT, WRONG, BROKEN = (
    Verdict(True, "72"),
    Verdict(False, "71"),
    Verdict(False, None, "grading took over 5.0 s"),
)


def test_the_shortest_correct_sample_of_a_teacher_is_kept() -> None:
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
    result = from_samples(
        responses_to(PROMPTS, completions, verdicts), 3, TEACHER, Eligibility(count_words, ["mit"], 20)
    )
    (shortest,) = result.trajectories
    assert (shortest.response, shortest.prompt_id, shortest.n_tokens) == ("a 72", PROMPTS[0].prompt_id, 3)
    assert (shortest.kind, shortest.source, shortest.author, shortest.verified) == (
        "teacher",
        "big",
        "org/model@abc",
        True,
    )
    sampling = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 64, "seed": 5, "sample": 2}
    assert json.loads(shortest.sampling) == sampling | {
        "chat_template": "sha256:0",
        "system_prompt": "Be brief.",
    }
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


def test_wrong_samples_are_kept_on_request_and_say_so() -> None:
    completions = [[sampled("a 72"), sampled("b 71"), sampled("c 71", "length"), sampled("so " * 30)]]
    samples = responses_to(PROMPTS[:1], completions, [[RIGHT, WRONG, WRONG, WRONG]])
    result, unasked = (from_samples(samples, 3, TEACHER, eligibility(), wrong) for wrong in (True, False))
    [mistaken] = (
        result.wrong
    )  # One was cut off, one is too long: neither could be trained on if it were right.
    assert (mistaken.response, mistaken.source, mistaken.verified) == ("b 71", "big-wrong", False)
    assert mistaken.trajectory_id not in {t.trajectory_id for t in result.trajectories}
    assert result.report == {**unasked.report, "wrong": 1} and unasked.wrong == []


def test_all_correct_samples_of_a_teacher_can_be_kept() -> None:
    completions = [[sampled("a b c 72"), sampled("a 72"), sampled("71"), sampled("a 72")]]
    samples = responses_to(PROMPTS[:1], completions, [[RIGHT, RIGHT, WRONG, RIGHT]])
    result = from_samples(samples, 3, replace(TEACHER, keep="all"), eligibility())
    assert [t.response for t in result.trajectories] == ["a b c 72", "a 72"]
    assert [json.loads(t.sampling)["sample"] for t in result.trajectories] == [0, 1]
    assert result.report["dropped"] == {"rejected_by_verifier": 1, "duplicate": 1}
    assert result.report["in"] == 4 and result.report["selection"] == "all_correct"
    assert next(r for r in result.rejects if r.reason == "duplicate").detail.endswith("sample 1")


def test_a_teacher_under_another_license_is_excluded() -> None:
    samples = responses_to(PROMPTS[:1], [[sampled("72")]], [[RIGHT]])
    result = from_samples(samples, 1, TEACHER, Eligibility(count_words, ["apache-2.0"], 20))
    assert result.report["dropped"] == {"license": 1}


def test_a_missing_response_is_not_counted_as_wrong() -> None:
    refused = replace(sampled(""), billed=0, error="HTTP 400: too long")
    samples = responses_to(
        PROMPTS[:1], [[refused, sampled("a 72")]], [[Verdict(False, None, refused.error), RIGHT]]
    )
    result = from_samples(samples, 1, TEACHER, Eligibility(count_words, ["mit"], 20))
    assert [(r.reason, r.detail) for r in result.rejects] == [("no_response", "HTTP 400: too long")]
    assert [t.response for t in result.trajectories] == ["a 72"] and result.report["in"] == 2


def test_samples_of_a_teacher_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    completions = [sampled("a 72", "length"), replace(sampled(""), billed=3, error="refused"), sampled("b")]
    (samples,) = responses_to(PROMPTS[:1], [completions], [[RIGHT, Verdict(False, None, "refused"), BROKEN]])
    tables.write(tmp_path / "samples.parquet", as_rows(samples), tables.TEACHER_RESPONSES)
    read = from_rows(PROMPTS[0], tables.read(tmp_path / "samples.parquet", tables.TEACHER_RESPONSES))
    stored = [replace(c, token_ids=(), logprobs=(), billed=c.n_tokens) for c in completions]
    assert read == replace(samples, completions=stored)


def test_a_missing_verdict_raises() -> None:
    with pytest.raises(ValueError, match="shorter"):
        samples = responses_to(PROMPTS[:1], [[sampled("72"), sampled("72")]], [[RIGHT]])
        from_samples(samples, 1, TEACHER, Eligibility(count_words, ["mit"], 20))
