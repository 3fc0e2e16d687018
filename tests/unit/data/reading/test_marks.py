"""Marks of right and wrong, and the responses of one row that each have their own."""

from __future__ import annotations

from typing import Any

import pytest
from rows_of_sources import Lines, Q, expert_rows, reject, values

from hpt_core.config import ExpertSource
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows

YES_NO = {"Yes": True, "No": False}


def test_responses_of_one_row_have_their_own_authors_kinds_and_marks(jsonl: Lines) -> None:
    row = {
        "problem": Q,
        "human": "h 42",
        "attempts": ["g 42", "g 41"],
        "grades": ["Yes", "no"],
        "r1": "r 42",
        "r1_grade": 0.4,
    }
    response = [
        {"read": "human", "author": "crowd", "kind": "human"},
        {"read": "attempts", "score": {"read": "grades", "map": YES_NO}},
        {"read": "r1", "author": "deepseek-r1", "score": "r1_grade"},
    ]
    path = str(jsonl("e.jsonl", row))
    source = ExpertSource(name="e", kind="teacher", file=path, columns={"response": response})
    assert source.kinds == {"teacher", "human"} and source.has_marks
    rows = list(read_rows(source))
    assert values(rows) == [
        {"problem": Q, "response": "h 42", "author": "crowd"},
        {"problem": Q, "response": "g 42", "score": True},
        {"problem": Q, "response": "g 41", "score": False},
        {"problem": Q, "response": "r 42", "score": False, "author": "deepseek-r1"},
    ]
    assert [(row.sample, row.kind) for row in rows if isinstance(row, SourceRow)] == [
        (0, "human"),
        (1, None),
        (2, None),
        (3, None),
    ]


@pytest.mark.parametrize(
    ("value", "options", "mark"),
    [
        ("Yes", {"map": YES_NO}, True),
        (" no ", {"map": YES_NO}, False),
        ("0.97", {"right_from": 0.8}, True),
        ("0.79", {"right_from": 0.8}, False),
        (0.8, {"right_from": 0.8}, True),
        (1, {"right_from": 1}, True),
        ("7/8", {"right_from": 0.875}, True),
        ("97%", {"right_from": 0.98}, False),
        (True, {"right_from": 0.5}, True),
        (1, {"map": {"1": True, "0": False}}, True),
        (0.0, {"map": {"1": True, "0": False}}, False),
        ("found_error", {"map": {"solution": True, "found_error": False}}, False),
    ],
)
@pytest.mark.parametrize("field", ["keep", "score"])
def test_a_mark(jsonl: Lines, field: str, value: Any, options: dict[str, Any], mark: bool) -> None:
    path = jsonl("e.jsonl", {"problem": Q, "response": "42", "mark": value})
    [read] = values(expert_rows(path, columns={field: {"read": "mark"} | options}))
    assert read[field] is mark


@pytest.mark.parametrize(
    ("value", "entry", "reason", "detail"),
    [
        ("Yes", "mark", "wrong_type", "write `keep: {read: mark, map: {"),
        ("0.97", "mark", "wrong_type", "write `keep: {read: mark, right_from: 0.5}`"),
        (1, "mark", "wrong_type", "write `keep: {read: mark, right_from: 0.5}`"),
        ("perhaps", {"read": "mark", "map": YES_NO}, "not_in_map", "'perhaps' is not in `map`"),
        ("high", {"read": "mark", "right_from": 0.5}, "wrong_type", "'high' is no number"),
        (None, {"read": "mark", "map": YES_NO}, "missing_column", "null"),
    ],
)
def test_a_mark_that_is_not_understood(
    jsonl: Lines, value: Any, entry: Any, reason: str, detail: str
) -> None:
    path = jsonl("e.jsonl", {"problem": Q, "response": "42", "mark": value})
    found, text = reject(expert_rows(path, columns={"keep": entry}))
    assert found == reason and detail in text
