"""The forms in which solutions are published, each read as it stands, every response accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.config import ExpertSource
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import ingest
from hpt_core.data.problems import prompt_id
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.types import Prompt

PROBLEM = "What is 6 times 7?"
PROMPT = Prompt(prompt_id(PROBLEM), PROBLEM, "42", "math", "p", "mit")
SYSTEM, USER = {"role": "system", "content": "Think."}, {"role": "user", "content": PROBLEM}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def source(path: Path, **columns: str) -> ExpertSource:
    return ExpertSource(name="s", kind="teacher", license="mit", file=str(path), columns=columns)


def saved(path: Path, *rows: dict[str, Any]) -> Path:
    """The rows as a parquet file or as JSONL, by the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=[".jsonl", ".parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"rows{request.param}"


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"problem": PROBLEM, "response": "It is 42."}, {}),
        ({"q": PROBLEM, "a": {"text": "It is 42."}}, {"problem": "q", "response": "a.text"}),
        (
            {"messages": [SYSTEM, USER, says("It is 42.")]},
            {"problem": "messages", "response": "messages"},
        ),
        (
            {"messages": [{"role": "user", "content": "Hello."}, says("Hello."), USER, says("It is 42.")]},
            {"problem": "messages", "response": "messages"},
        ),
        # LUFFY, and the paper's Openr1-Math-46k: by place, or as the chats that they are
        (
            {"prompt": [SYSTEM, USER], "target": [says("It is 42.")]},
            {"problem": "prompt.-1.content", "response": "target.0.content"},
        ),
        (
            {"prompt": [SYSTEM, USER], "target": [says("It is 42.")]},
            {"problem": "prompt", "response": "target"},
        ),
    ],
)
def test_one_response_a_row(file: Path, row: dict[str, Any], columns: dict[str, str]) -> None:
    [read] = read_rows(source(saved(file, row), **columns))
    assert isinstance(read, SourceRow)
    assert (read.values, read.sample) == ({"problem": PROBLEM, "response": "It is 42."}, None)


OPENR1: dict[str, Any] = {
    "problem": PROBLEM,
    "solution": "Six sevens are 42.",
    "answer": "42",
    "uuid": "u",
    "is_reasoning_complete": [True, True, False, True],
    "generations": ["a: \\boxed{42}", "b: \\boxed{41}", "c: \\boxed{42}", "d: \\boxed{42}"],
    "correctness_math_verify": [True, True, True, False],
    "correctness_llama": [None, None, True, None],
    "messages": [USER, says("a: \\boxed{42}")],
}


def test_openr1_math_220k_has_a_candidate_for_each_generation(file: Path, last_box: Any) -> None:
    columns = {"response": "generations", "score": "correctness_math_verify", "keep": "is_reasoning_complete"}
    path = saved(file, OPENR1, OPENR1 | {"generations": [], "correctness_math_verify": []})
    result = ingest(source(path, **columns), [PROMPT], last_box, Eligibility(len, ["mit"], 99))
    assert [t.response[0] for t in result.trajectories] == ["a", "d"]
    told = [(r.line, r.reason) for r in result.rejects]
    assert told == [(1, "rejected_by_verifier"), (1, "marked_wrong_by_source"), (2, "uneven_lists")]
    report = result.report
    assert report["in"] == 5 == report["kept"] + sum(report["dropped"].values())
    assert report["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 1}
    wrong = json.loads(result.rejects[0].row)
    assert (wrong["sample"], wrong["generations"]) == (1, "b: \\boxed{41}"), "the one that is meant, alone"
    assert "4 responses, and" not in result.rejects[2].detail and "'is_reasoning_complete': 4" in (
        result.rejects[2].detail
    )


def test_marks_that_a_source_did_not_give_are_none(file: Path, last_box: Any) -> None:
    path = saved(file, OPENR1, OPENR1 | {"correctness_llama": None})
    judged = source(path, response="generations", score="correctness_llama")
    rows = list(read_rows(judged))
    assert [row.values.get("score") for row in rows if isinstance(row, SourceRow)] == [
        *(None, None, True, None),
        *[None] * 4,
    ]
    result = ingest(judged, [PROMPT], last_box, Eligibility(len, ["mit"], 99))
    assert result.report["marked"] == {"right": 1, "wrong": 0}
    repeated = next(r for r in result.rejects if r.reason == "duplicate")
    assert repeated.detail.endswith(f"{path}:1, sample 0")


def test_several_chats_a_row_and_one_mark_for_all(file: Path) -> None:
    chats = [[USER, says("It is 42.")], [SYSTEM, USER, says("42!")]]
    columns = {"problem": "chats", "response": "chats", "keep": "ok"}
    one, two = read_rows(source(saved(file, {"chats": chats, "ok": True}), **columns))
    assert isinstance(one, SourceRow) and isinstance(two, SourceRow)
    assert one.values == {"problem": PROBLEM, "response": "It is 42.", "keep": True}
    assert two.values == {"problem": PROBLEM, "response": "42!", "keep": True}
    assert (one.sample, two.sample, two.where) == (0, 1, f"{file}:1, sample 1")


@pytest.mark.parametrize(
    ("response", "reason", "detail"),
    [
        ([], "no_response", "'response' is an empty list"),
        ([USER], "not_a_chat", "has 0 turns of role 'assistant' after the user's last"),
        ([says("a"), USER], "not_a_chat", "has 0 turns of role 'assistant'"),
        ([USER, says("a"), says("b")], "not_a_chat", "has 2 turns of role 'assistant'"),
        ([USER, {"role": "assistant", "content": [1]}], "wrong_type", "is list"),
        ([USER, {"role": "assistant"}], "wrong_type", "is NoneType"),
        ({"text": "a"}, "wrong_type", "is dict"),
        ([7], "wrong_type", "is int: 7"),
        ([None], "missing_column", "no 'response'"),
        (None, "missing_column", "no 'response'"),
    ],
)
def test_what_is_no_response_is_told(
    jsonl: Callable[..., Path], response: Any, reason: str, detail: str
) -> None:
    path = jsonl("e.jsonl", {"problem": PROBLEM, "response": response}, {"problem": PROBLEM, "response": "r"})
    bad, good = read_rows(source(path))
    assert isinstance(bad, Reject) and isinstance(good, SourceRow)
    assert (bad.line, bad.reason) == (1, reason) and detail in bad.detail


def test_a_chat_without_a_user_has_no_problem(jsonl: Callable[..., Path]) -> None:
    [bad] = read_rows(source(jsonl("e.jsonl", {"problem": [SYSTEM], "response": "r"})))
    assert isinstance(bad, Reject) and bad.reason == "not_a_chat" and "no turn of role 'user'" in bad.detail


def test_one_bad_response_of_several_costs_no_other(jsonl: Callable[..., Path]) -> None:
    rows = list(read_rows(source(jsonl("e.jsonl", {"problem": PROBLEM, "response": ["a", 7, None, "b"]}))))
    assert Counter(type(row) for row in rows) == {SourceRow: 2, Reject: 2}
    assert [row.reason for row in rows if isinstance(row, Reject)] == ["wrong_type", "missing_column"]
