"""The shapes in which rows of the benchmarks of `hpt_core.config.benchmarks` are published or copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any

from hpt_core.seeds import derive

BenchmarkRow = Mapping[str, Any]
"""A row as the benchmark's publisher wrote it."""


@dataclass(frozen=True)
class RowShape:
    """The columns of a row that hold its problem and its answer."""

    problem: str
    """A column or dotted path, as in `columns` of a source. A row with both columns has this shape."""
    answer: str
    template: Callable[[BenchmarkRow], tuple[str, str]] | None = None
    """A function that makes problem and answer from the row; None where they are the two columns as they are.
    It raises ValueError for a row that is not as published."""


def choice_problem(question: str, options: Sequence[str], right: int) -> tuple[str, str]:
    """The problem, with a line for each option under (A), (B) and so on, and the letter of the right one."""
    lines = [f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    text = "\n".join([question, "", *lines, "", "Answer with the letter of the right choice."])
    return text, ascii_uppercase[right]


def _arc(row: BenchmarkRow) -> tuple[str, str]:
    """Keep the options in their published order; some rows label them 1 to 4 in place of A to D."""
    options, labels = row["choices"]["text"], row["choices"]["label"]
    if len(options) != len(labels) or row["answerKey"] not in labels:
        raise ValueError(f"answerKey {row['answerKey']!r} is none of the labels {labels}")
    right = labels.index(row["answerKey"])
    return choice_problem(_text(row, "question"), [option.strip() for option in options], right)


def _gpqa(row: BenchmarkRow) -> tuple[str, str]:
    """Order the options by a hash, since the published rows hold the right option in a column of its own."""
    question, right = _text(row, "Question"), _text(row, "Correct Answer")
    options = [right, *(_text(row, f"Incorrect Answer {number}") for number in (1, 2, 3))]
    if right in options[1:]:
        raise ValueError(f"the right answer {right!r} is among the wrong ones")
    options.sort(key=lambda option: derive(0, "choices", question, option))
    return choice_problem(question, options, options.index(right))


def _olympiad(row: BenchmarkRow) -> tuple[str, str]:
    """Put the context, which several problems share, before the question, and ask for every answer."""
    answers = row["final_answer"]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"final_answer is no list of texts: {answers!r}")
    context = (row.get("context") or "").strip()
    return "\n\n".join(filter(None, [context, _text(row, "question")])), ", ".join(answers)


def _text(row: BenchmarkRow, column: str) -> str:
    if not isinstance(row.get(column), str):
        raise ValueError(f"{column!r} is no text: {row.get(column)!r}")
    return str(row[column]).strip()


PUBLISHED: Mapping[str, tuple[RowShape, ...]] = MappingProxyType(
    {
        # In math-ai/aime24 `solution` is the boxed answer; beside an `answer` it is a full solution.
        "aime24": (RowShape("problem", "answer"), RowShape("problem", "solution")),
        "aime25": (RowShape("problem", "answer"),),
        "amc23": (RowShape("question", "answer"),),
        "math500": (RowShape("problem", "answer"),),
        "minerva": (RowShape("question", "answer"),),
        "olympiadbench": (RowShape("question", "final_answer", _olympiad),),
        "gpqa_diamond": (RowShape("Question", "Correct Answer", _gpqa),),
        "arc_challenge": (RowShape("choices.text", "answerKey", _arc),),
        "gsm8k": (RowShape("question", "answer"),),
    }
)
"""Benchmark -> shapes of its rows on the hub."""
COPIES = (
    RowShape("prompt.-1.content", "reward_model.ground_truth"),  # parquet of verl, LUFFY and HPT
    RowShape("prompt", "answer"),  # the JSON that HPT released
    RowShape("problem", "answer"),
)
"""Shapes in which copies of any benchmark are kept."""


def row_shapes(benchmark: str) -> tuple[RowShape, ...]:
    """Shapes that rows of `benchmark` may have; a row is read by the first whose columns it has."""
    return (*PUBLISHED.get(benchmark, ()), *COPIES)
