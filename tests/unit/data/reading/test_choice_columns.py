"""`choices`: the options of a question stand below it, in whatever form a data set keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.choices import options_in
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows

ASKED = "Which?\n\n(A) 21\n(B) f(x), x > 0\n(C) none\n\nAnswer with the letter of the right choice."


@pytest.mark.parametrize(
    "value",
    [
        ["21", "f(x), x > 0", "none"],
        ["A)21", "B)f(x), x > 0", "C)none"],
        ["(A) 21", "(B) f(x), x > 0", "(C) none"],
        {"A": "21", "B": "f(x), x > 0", "C": "none"},
        {"text": ["21", "f(x), x > 0", "none"], "label": ["A", "B", "C"]},
        "a ) 21 , b ) f(x), x > 0 , c ) none",
        "(A) 21 (B) f(x), x > 0 (C) none",
        "A. 21\nB. f(x), x > 0\nC. none",
        '["21", "f(x), x > 0", "none"]',
        "['a ) 21', 'b ) f(x), x > 0', 'c ) none']",
    ],
)
def test_forms_of_options(jsonl: Callable[..., Path], value: Any) -> None:
    path = jsonl("rows.jsonl", {"question": "Which?", "options": value, "key": "B"})
    columns = {"problem": {"read": "question", "choices": "options"}, "answer": "key"}
    (row,) = read_rows(PromptSource(name="a", file=str(path), answer_kind="choice", columns=columns))
    assert isinstance(row, SourceRow) and row.values == {"problem": ASKED, "answer": "B"}


def test_numbers_are_options_and_a_letter_of_a_text_is_no_label() -> None:
    assert options_in([21, 2.5]) == ["21", "2.5"]
    assert options_in(["A) first", "plain", "C) third"]) == ["A) first", "plain", "C) third"]
    assert options_in("a ) vitamin b ) 12 , b ) iron , c ) zinc") == ["vitamin", "12 , b ) iron", "zinc"]


@pytest.mark.parametrize("value", [None, [], ["one"], "no options here", 7, {"text": 3}])
def test_a_row_without_options_is_rejected(jsonl: Callable[..., Path], value: Any) -> None:
    path = jsonl(
        "rows.jsonl", {"question": "Which?", "options": value, "key": "B"}, {"question": "Which?", "key": "B"}
    )
    columns = {"problem": {"read": "question", "choices": "options"}, "answer": "key"}
    for row in read_rows(PromptSource(name="a", file=str(path), answer_kind="choice", columns=columns)):
        assert isinstance(row, Reject) and row.reason == "no_options" and "choices" in row.detail


def test_a_demonstration_has_the_options_of_its_prompt(jsonl: Callable[..., Path]) -> None:
    path = jsonl(
        "rows.jsonl", {"question": "Which?", "options": ["21", "f(x), x > 0", "none"], "rationale": "(B)"}
    )
    columns = {"problem": {"read": "question", "choices": "options"}, "response": "rationale"}
    (row,) = read_rows(ExpertSource(name="a", kind="human", file=str(path), columns=columns))
    assert isinstance(row, SourceRow) and row.values == {"problem": ASKED, "response": "(B)"}


@pytest.mark.parametrize(
    "columns",
    [
        {"problem": "question", "answer": {"read": "key", "choices": "options"}},
        {"problem": {"read": "question", "choices": "options", "unwrap": "Q: {problem}"}, "answer": "key"},
    ],
)
def test_only_a_problem_that_is_not_unwrapped_has_options(columns: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"only a problem has options|below the text"):
        PromptSource(name="a", file="rows.jsonl", answer_kind="choice", columns=columns)
