"""An instruction that all problems of a source stand in is found, whatever words it has."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.contract import check_sources
from hpt_core.data.curation.wrapping import shared_instruction
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.data.reading.values import unwrapped

PROBLEMS = [
    f"{who} has {n} {what} and {verb} {n // 2} of them away{end}"
    for n, (who, what, verb, end) in enumerate(
        [
            ("Ann", "figs", "gives", ". How many are left?"),
            ("Bob", "red hats", "throws", ". Find the rest."),
            ("Cy", "dogs", "sends", " in $\\{1, 2\\}$ days. Which are left"),
        ]
        * 8
    )
]
BEFORE = "Solve the problem step by step. Write \\boxed{ANSWER} last.\n\n"
AFTER = " Let's think step by step and output the final answer within \\boxed{}."


@pytest.mark.parametrize("before", ["", BEFORE])
@pytest.mark.parametrize("after", ["", AFTER, '\n\nRemember to put your answer after "Answer:".'])
def test_the_template_takes_the_instruction_off(before: str, after: str) -> None:
    texts = [before + problem + after for problem in PROBLEMS]
    template = shared_instruction(texts)
    assert (template is None) == (not before and not after)
    if template is not None:
        assert [unwrapped(text, template) for text in texts] == PROBLEMS


def test_generated_tasks_and_few_problems_stand_in_no_instruction() -> None:
    words = [f"Spell this word backward (example: sun -> nus): w{n}rd" for n in range(50)]
    assert shared_instruction(words) is None
    assert shared_instruction([BEFORE + problem for problem in PROBLEMS[:19]]) is None


def test_curation_warns_with_the_entry_that_takes_it_off(
    jsonl: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"q": BEFORE + text, "answer": str(n)} for n, text in enumerate(PROBLEMS)]
    path = str(jsonl("rows.jsonl", *rows))
    keys = {"name": "wrapped", "file": path, "answer_kind": "exact"}
    exam = PromptSource(
        name="exam", file=str(jsonl("exam.jsonl", {"problem": "a", "answer": "b"})), answer_kind="exact"
    )

    def check(source: PromptSource) -> str:
        caplog.clear()
        config = CurateConfig(train=[source], benchmarks={"exam": [exam]}, dev_size=1, max_problem_chars=999)
        with caplog.at_level(logging.WARNING):
            check_sources(config)
        return caplog.text

    warning = check(PromptSource(**keys, columns={"problem": "q"}))
    assert "source wrapped" in warning
    entry = warning.partition("columns: {problem: {read: ")[2].rstrip().removesuffix("}}")
    read, template = map(json.loads, entry.split(", unwrap: "))
    source = PromptSource(**keys, columns={"problem": {"read": read, "unwrap": template}})
    assert check(source) == ""
    assert [row.values["problem"] for row in read_rows(source) if isinstance(row, SourceRow)] == PROBLEMS
