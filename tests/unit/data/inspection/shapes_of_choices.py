"""Rows of well-known sets of multiple-choice questions, as in shapes.py."""

from __future__ import annotations

from typing import Any

from tests.unit.data.inspection.items import CHOICE, Item
from tests.unit.data.inspection.shapes import Expert, Shape

LETTERS = "ABCD"


def lettered(item: Item) -> str:
    """The question as a policy is asked it: with a line for each option."""
    lines = [f"({letter}) {option}" for letter, option in zip(LETTERS, item.options, strict=True)]
    return "\n".join([item.problem, "", *lines, "", "Answer with the letter of the right choice."])


def choice(row: Any, *experts: Expert, **others: Any) -> Shape:
    rest = {"answer": lambda i: i.letter} | others
    return Shape(row, items=CHOICE, problem=lettered, kind="choice", experts=experts, **rest)


def _numbered(item: Item) -> int:
    return LETTERS.index(item.letter)


CHOICES: dict[str, Shape] = {
    "deepmind/aqua_rat": choice(
        lambda i: {
            "question": i.problem,
            "options": [f"{letter}){option}" for letter, option in zip(LETTERS, i.options, strict=True)],
            "rationale": f"{i.working} Answer is {i.letter}.",
            "correct": i.letter,
        },
        Expert(lambda i: f"{i.working} Answer is {i.letter}."),
    ),
    "TIGER-Lab/MMLU-Pro": choice(
        lambda i: {
            "question_id": 70 + 3 * i.number,
            "question": i.problem,
            "options": list(i.options),
            "answer": i.letter,
            "answer_index": _numbered(i),
            "cot_content": "",
            "category": "physics",
            "src": "ori_mmlu-physics",
        }
    ),
    "cais/mmlu": choice(
        lambda i: {
            "question": i.problem,
            "subject": "high_school_physics",
            "choices": list(i.options),
            "answer": _numbered(i),
        }
    ),
    "allenai/ai2_arc": choice(
        lambda i: {
            "id": f"Mercury_{7000 + 13 * i.number}",
            "question": i.problem,
            "choices": {"text": list(i.options), "label": list(LETTERS)},
            "answerKey": i.letter,
        }
    ),
    "allenai/math_qa": choice(
        lambda i: {
            "Problem": i.problem,
            "Rationale": f'"{i.working} answer : {i.letter.lower()}"',
            "options": " , ".join(
                f"{letter} ) {option}" for letter, option in zip("abcd", i.options, strict=True)
            ),
            "correct": i.letter.lower(),
            "annotated_formula": "multiply(n0, n1)",
            "linear_formula": "multiply(n0,n1)|",
            "category": "general",
        },
        Expert(lambda i: f'"{i.working} answer : {i.letter.lower()}"'),
        answer=lambda i: i.letter.lower(),
    ),
    "options in an object": choice(
        lambda i: {"q": i.problem, "options": dict(zip(LETTERS, i.options, strict=True)), "key": i.letter},
        suffix=".jsonl",
    ),
    "options in the question": Shape(
        lambda i: {"question": lettered(i), "answer": i.letter},
        items=CHOICE,
        problem=lettered,
        answer=lambda i: i.letter,
        kind="choice",
    ),
}
"""Name of the data set -> its shape."""
