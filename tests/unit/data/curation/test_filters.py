"""Filters of one row: length, script, and an answer that the verifier can compare with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from curated_files import curated

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.filters import reference_answer
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.scripts import script_of

Source = Callable[..., PromptSource]
FILLER = [(f"What is {n} plus 1?", str(n + 1)) for n in range(5)]


@pytest.fixture
def bench(prompts_of: Source) -> PromptSource:
    return prompts_of("bench", ("Capital of France?", "Paris"), ("法国的首都是哪里", "巴黎"))


def test_lengths(prompts_of: Source, bench: PromptSource) -> None:
    source = prompts_of("t", *FILLER, ("1+1", "2"), ("1+11", "12"), ("x" * 30, "1"), ("x" * 31, "1"))
    bounds = {"dev_size": 1, "min_problem_chars": 4, "max_problem_chars": 30}
    result = curated([source], {"bench": [bench]}, **bounds)
    assert [(row["line"], row["reason"]) for row in result.quarantine] == [
        (6, "problem_too_short"),
        (9, "problem_too_long"),
    ]
    with pytest.raises(ValueError, match="min_problem_chars 31 is above max_problem_chars 30"):
        CurateConfig(
            train=[source], benchmarks={"b": [bench]}, dev_size=1, min_problem_chars=31, max_problem_chars=30
        )


@pytest.mark.parametrize(
    ("problem", "kept"),
    [
        ("Find x, where \u03b1 + x = 3π and Øre is José's coin.", True),
        ("求方程 x + 3 = 5 的解", False),
        ("Сколько будет 2 + 2?", False),
        ("2 + 2 = ?", True),
        ("\U0001d465 + \U0001d466 = 3", True),
        ("Translate 水 and 火 into English and count the letters of both words.", True),
        ("水火 and", False),
    ],
)
def test_only_letters_count_for_scripts(
    prompts_of: Source, bench: PromptSource, problem: str, kept: bool
) -> None:
    source = prompts_of("t", *FILLER, (problem, "1"))
    result = curated([source], {"bench": [bench]}, dev_size=1, scripts=["Latin"])
    assert result.dropped("t") == ({} if kept else {"other_script": 1})
    # Benchmarks may be in any script, and without the key so may training problems.
    assert len(result.benchmarks["bench"]) == 2
    assert curated([source], {"bench": [bench]}, dev_size=1).dropped("t") == {}


@pytest.mark.parametrize(
    ("letter", "script"),
    [("a", "Latin"), ("É", "Latin"), ("я", "Cyrillic"), ("水", "Han"), ("ひ", "Hiragana"), ("한", "Hangul"),
     ("π", "Greek"), ("\uff57", "Latin"), ("ª", "Latin"), ("ب", "Arabic"), ("अ", "Devanagari")],
)  # fmt: skip
def test_script_of(letter: str, script: str) -> None:
    assert script_of(letter) == script


@pytest.mark.parametrize(
    ("answer", "kind", "part"),
    [
        (r"\frac{1}{2}", "math", None),
        (r"(-\infty, 3) \cup [5, \infty)", "math", None),
        ("Friday the thirteenth", "math", None),
        (r"\text{no such number exists}", "math", None),
        ("all x in (0, 1)", "math", None),
        ("there are infinitely many such triples", "math", "prose"),
        (r"\frac{1}{2", "math", "unbalanced"),
        ("...", "math", "no number"),
        ("C", "choice", None),
        ("none of them", "choice", "names no choice"),
        ("some text", "exact", None),
        ("#### 1,234", "gsm8k", None),
        ("so it is 12 or 13", "gsm8k", "last line"),
    ],
)
def test_an_answer_must_be_one_that_the_verifier_can_compare_with(
    answer: str, kind: str, part: str | None
) -> None:
    source = PromptSource(name="t", file="t.jsonl", answer_kind=kind)
    row = SourceRow("t", "t.jsonl", 1, {"problem": "?", "answer": answer}, {})
    _, fault = reference_answer(row, source, kind)
    assert fault is None if part is None else fault is not None and part in fault
