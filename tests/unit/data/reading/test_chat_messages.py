"""The formats in which solutions are published: each is read, and every response is kept or rejected."""

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


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def source(path: Path, **columns: str) -> ExpertSource:
    return ExpertSource(name="s", kind="teacher", license="mit", file=str(path), columns=columns)


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    """Write the rows as parquet or as JSONL, by the suffix."""
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
            {"messages": [SYSTEM, USER, assistant("It is 42.")]},
            {"problem": "messages", "response": "messages"},
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hello."},
                    assistant("Hello."),
                    USER,
                    assistant("It is 42."),
                ]
            },
            {"problem": "messages", "response": "messages"},
        ),
        # LUFFY and the paper's Openr1-Math-46k: columns by index, or the chats themselves.
        (
            {"prompt": [SYSTEM, USER], "target": [assistant("It is 42.")]},
            {"problem": "prompt.-1.content", "response": "target.0.content"},
        ),
        (
            {"prompt": [SYSTEM, USER], "target": [assistant("It is 42.")]},
            {"problem": "prompt", "response": "target"},
        ),
    ],
)
def test_one_response_in_a_row(file: Path, row: dict[str, Any], columns: dict[str, str]) -> None:
    [read] = read_rows(source(write_rows(file, row), **columns))
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
    "messages": [USER, assistant("a: \\boxed{42}")],
}


def test_openr1_math_220k_has_a_row_for_each_generation(file: Path, last_box: Any) -> None:
    columns = {"response": "generations", "score": "correctness_math_verify", "keep": "is_reasoning_complete"}
    path = write_rows(file, OPENR1, OPENR1 | {"generations": [], "correctness_math_verify": []})
    result = ingest(source(path, **columns), [PROMPT], last_box, Eligibility(len, ["mit"], 99))
    assert [t.response[0] for t in result.trajectories] == ["a", "d"]
    rejects = [(r.line, r.reason) for r in result.rejects]
    assert rejects == [(1, "rejected_by_verifier"), (1, "marked_wrong_by_source"), (2, "uneven_lists")]
    report = result.report
    assert report["in"] == 5 == report["kept"] + sum(report["dropped"].values())
    assert report["contradicts"] == {"marked_right_but_wrong": 1, "marked_wrong_but_right": 1}
    wrong = json.loads(result.rejects[0].row)
    assert (wrong["sample"], wrong["generations"]) == (1, "b: \\boxed{41}"), (
        "only this response is in the quarantine"
    )
    uneven = result.rejects[2].detail
    assert "4 responses, and" not in uneven and "'is_reasoning_complete': 4" in uneven


def test_a_missing_mark_is_no_mark(file: Path, last_box: Any) -> None:
    path = write_rows(file, OPENR1, OPENR1 | {"correctness_llama": None})
    marked = source(path, response="generations", score="correctness_llama")
    rows = list(read_rows(marked))
    assert [row.values.get("score") for row in rows if isinstance(row, SourceRow)] == [
        *(None, None, True, None),
        *[None] * 4,
    ]
    result = ingest(marked, [PROMPT], last_box, Eligibility(len, ["mit"], 99))
    assert result.report["marked"] == {"right": 1, "wrong": 0}
    duplicate = next(r for r in result.rejects if r.reason == "duplicate")
    assert duplicate.detail.endswith(f"{path}:1, sample 0")


def test_several_chats_in_a_row_with_one_mark_for_all(file: Path) -> None:
    chats = [[USER, assistant("It is 42.")], [SYSTEM, USER, assistant("42!")]]
    columns = {"problem": "chats", "response": "chats", "keep": "ok"}
    first, second = read_rows(source(write_rows(file, {"chats": chats, "ok": True}), **columns))
    assert isinstance(first, SourceRow) and isinstance(second, SourceRow)
    assert first.values == {"problem": PROBLEM, "response": "It is 42.", "keep": True}
    assert second.values == {"problem": PROBLEM, "response": "42!", "keep": True}
    assert (first.sample, second.sample, second.where) == (0, 1, f"{file}:1, sample 1")


@pytest.mark.parametrize(
    ("response", "reason", "detail"),
    [
        ([], "no_response", "'response' is an empty list"),
        ([USER], "not_a_chat", "has 0 turns of role 'assistant' after the user's last"),
        ([assistant("a"), USER], "not_a_chat", "has 0 turns of role 'assistant'"),
        ([USER, assistant("a"), assistant("b")], "not_a_chat", "has 2 turns of role 'assistant'"),
        ([USER, {"role": "assistant", "content": [1]}], "wrong_type", "is list"),
        ([USER, {"role": "assistant"}], "wrong_type", "is NoneType"),
        ({"text": "a"}, "wrong_type", "is dict"),
        ([7], "wrong_type", "is int: 7"),
        ([None], "missing_column", "no 'response' (response): it is null"),
        (None, "missing_column", "no 'response' (response): it is null"),
    ],
)
def test_a_value_that_is_no_response_is_rejected(
    jsonl: Callable[..., Path], response: Any, reason: str, detail: str
) -> None:
    path = jsonl("e.jsonl", {"problem": PROBLEM, "response": response}, {"problem": PROBLEM, "response": "r"})
    bad, good = read_rows(source(path))
    assert isinstance(bad, Reject) and isinstance(good, SourceRow)
    assert (bad.line, bad.reason) == (1, reason) and detail in bad.detail


def test_a_chat_without_a_user_has_no_problem(jsonl: Callable[..., Path]) -> None:
    [bad] = read_rows(source(jsonl("e.jsonl", {"problem": [SYSTEM], "response": "r"})))
    assert isinstance(bad, Reject) and bad.reason == "not_a_chat" and "no turn of role 'user'" in bad.detail


def test_a_bad_response_does_not_affect_the_others(jsonl: Callable[..., Path]) -> None:
    rows = list(read_rows(source(jsonl("e.jsonl", {"problem": PROBLEM, "response": ["a", 7, None, "b"]}))))
    assert Counter(type(row) for row in rows) == {SourceRow: 2, Reject: 2}
    assert [row.reason for row in rows if isinstance(row, Reject)] == ["wrong_type", "missing_column"]
