"""How rows of the benchmarks in `hpt_core.config.benchmarks` become problems: the shapes they come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any

from hpt_core.seeds import derive

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """A shape that rows come in."""

    problem: str
    """Column, or dotted path, as in `columns` of a source; a row of this form has it, and `answer`."""
    answer: str
    template: Callable[[Record], tuple[str, str]] | None = None
    """The row -> problem and answer, where they are not simply those columns. Raises ValueError for a row
    that is not as published."""


def choice(question: str, options: Sequence[str], right: int) -> tuple[str, str]:
    """The problem and its letter: the question, a line for each option under (A), (B) and so on."""
    lines = [f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    text = "\n".join([question, "", *lines, "", "Answer with the letter of the right choice."])
    return text, ascii_uppercase[right]


def _arc(row: Record) -> tuple[str, str]:
    """Options in their published order; some rows call them 1 to 4 in place of A to D."""
    options, labels = row["choices"]["text"], row["choices"]["label"]
    if len(options) != len(labels) or row["answerKey"] not in labels:
        raise ValueError(f"answerKey {row['answerKey']!r} is none of the labels {labels}")
    return choice(_text(row, "question"), [o.strip() for o in options], labels.index(row["answerKey"]))


def _gpqa(row: Record) -> tuple[str, str]:
    """The published rows name the right option, so its place comes from a hash of the question and it."""
    question, right = _text(row, "Question"), _text(row, "Correct Answer")
    options = [right, *(_text(row, f"Incorrect Answer {number}") for number in (1, 2, 3))]
    if right in options[1:]:
        raise ValueError(f"the right answer {right!r} is among the wrong ones")
    options.sort(key=lambda option: derive(0, "choices", question, option))
    return choice(question, options, options.index(right))


def _olympiad(row: Record) -> tuple[str, str]:
    """A problem may begin with a context that it shares with others; several answers are all wanted."""
    answers = row["final_answer"]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"final_answer is no list of texts: {answers!r}")
    context = (row.get("context") or "").strip()
    return "\n\n".join(filter(None, [context, _text(row, "question")])), ", ".join(answers)


def _text(row: Record, column: str) -> str:
    if not isinstance(row.get(column), str):
        raise ValueError(f"{column!r} is no text: {row.get(column)!r}")
    return str(row[column]).strip()


PUBLISHED: Mapping[str, tuple[Form, ...]] = MappingProxyType(
    {
        # In math-ai/aime24 `solution` is the boxed answer; where there is `answer` too, it is a worked one.
        "aime24": (Form("problem", "answer"), Form("problem", "solution")),
        "aime25": (Form("problem", "answer"),),
        "amc23": (Form("question", "answer"),),
        "math500": (Form("problem", "answer"),),
        "minerva": (Form("question", "answer"),),
        "olympiadbench": (Form("question", "final_answer", _olympiad),),
        "gpqa_diamond": (Form("Question", "Correct Answer", _gpqa),),
        "arc_challenge": (Form("choices.text", "answerKey", _arc),),
        "gsm8k": (Form("question", "answer"),),
    }
)
"""Benchmark -> shapes of its rows on the hub."""
COPIES = (
    Form("prompt.-1.content", "reward_model.ground_truth"),  # parquet of verl, LUFFY and HPT
    Form("prompt", "answer"),  # the JSON that HPT released
    Form("problem", "answer"),
)
"""How copies are kept, whatever the benchmark."""


def forms(benchmark: str) -> tuple[Form, ...]:
    """Shapes that rows of `benchmark` may have; the first one whose columns a row has reads it."""
    return (*PUBLISHED.get(benchmark, ()), *COPIES)
