"""Shapes of rows that shapes.py has not: what is recognised follows from what the columns hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hpt_core.data.inspection.entries import Origin, entries_for
from hpt_core.data.inspection.recognise import recognise
from hpt_core.data.inspection.rows import fields_of
from tests.unit.data.inspection.items import CHOICE, MATH, Item
from tests.unit.data.inspection.shapes import PROMPTS, assistant, user
from tests.unit.data.inspection.shapes_of_choices import CHOICES
from tests.unit.data.inspection.shapes_of_demonstrations import DEMONSTRATIONS

ALL = PROMPTS | DEMONSTRATIONS | CHOICES
RIGHT = "ABCD"
ASKS = "Answer with the letter of the right choice."


def read(rows: list[Any]) -> list[dict[str, Any]]:
    """The entries for rows, without what their origin says."""
    rows = [{"turns": row} if isinstance(row, list) else row for row in rows]
    found = recognise(fields_of(rows), rows)
    hidden = ("name", "file", "author", "license")
    return [
        {key: value for key, value in entry.keys.items() if key not in hidden}
        for entry in entries_for(found, Origin(file="rows.jsonl"))
    ]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_one_or_two_rows_are_read_as_all_are(name: str, count: int) -> None:
    rows = [ALL[name].row(item) for item in ALL[name].items]
    assert read(rows[:count]) == read(rows)


def two_samples(item: Item) -> list[str]:
    return [item.attempt, item.failed]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            lambda i: {"chat": json.dumps([user(i.problem), assistant(i.attempt)]), "gold": i.answer},
            {"problem": "chat", "answer": "gold", "response": "chat"},
        ),
        (
            lambda i: {
                "dialog": [{"speaker": "pupil", "says": i.problem}, {"speaker": "tutor", "says": i.attempt}],
                "gold": i.answer,
            },
            {"problem": "dialog", "answer": "gold", "response": "dialog"},
        ),
        (
            lambda i: {"prompt": i.problem, "ref": i.answer, "outs": two_samples(i), "rewards": [1.0, 0.0]},
            {
                "problem": "prompt",
                "answer": "ref",
                "response": "outs.*",
                "score": {"read": "rewards.*", "right_from": 0.5},
            },
        ),
        (  # Marks without a telling name: they say which samples end in the answer.
            lambda i: {"aa": i.problem, "bb": i.answer, "cc": two_samples(i), "dd": [True, False]},
            {"problem": "aa", "answer": "bb", "response": "cc.*", "score": "dd.*"},
        ),
        (
            lambda i: {
                "task": i.problem,
                "gold": i.answer,
                "samples": [{"text": i.attempt, "ok": True, "model": "m1"}],
            },
            {"problem": "task", "answer": "gold", "response": "samples.*.text", "author": "samples.*.model"},
        ),
        (
            lambda i: {"question": i.problem, "think": i.thought, "answer": i.attempt, "gold": i.answer},
            {"problem": "question", "answer": "gold", "response": "<think>\n{think}\n</think>\n\n{answer}"},
        ),
        (
            lambda i: {"input": [user(i.problem)], "output": i.trace, "generator": "R1", "gold": i.answer},
            {"problem": "input", "answer": "gold", "response": "output", "author": "generator"},
        ),
        (
            lambda i: {"prompt": i.problem, "steps": [i.working, f"Answer: {i.answer}"], "gold": i.answer},
            {"problem": "prompt", "answer": "gold", "response": {"read": "steps", "join": "\n\n"}},
        ),
        (
            lambda i: {"problem": i.problem, "final_answer": [i.answer, "-1"], "solution": [i.solution]},
            {
                "problem": "problem",
                "answer": {"read": "final_answer", "join": ", "},
                "response": "solution.*",
            },
        ),
        (
            lambda i: {"in": {"text": i.problem}, "out": {"text": i.answer}, "n": i.number, "rate": 0.5},
            {"problem": "in.text", "answer": "out.text"},
        ),
        (
            lambda i: {"问题": f"已知函数f(x)={i.number}x+1,求f(2)的值。", "答案": str(2 * i.number + 1)},
            {"problem": "问题", "answer": "答案"},
        ),
        (
            lambda i: {"question": i.problem, "expected": i.answer, "predicted": "7", "generated": i.attempt},
            {"problem": "question", "answer": "expected", "response": "generated"},
        ),
    ],
)
def test_what_the_columns_are(row: Callable[[Item], Any], expected: dict[str, Any]) -> None:
    entries = read([row(item) for item in MATH])
    columns = {key: value for entry in entries for key, value in entry["columns"].items()}
    assert columns == expected


@pytest.mark.parametrize(
    ("row", "problem", "answer"),
    [
        (
            lambda i: {
                "q": i.problem,
                **dict(zip(("opa", "opb", "opc", "opd"), i.options, strict=True)),
                "cop": RIGHT.index(i.letter),
            },
            "{q}\n\n(A) {opa}\n(B) {opb}\n(C) {opc}\n(D) {opd}\n\n" + ASKS,
            {"read": "cop", "map": {"0": "A", "1": "B", "2": "C", "3": "D"}},
        ),
        (
            lambda i: {"text": i.working, "query": i.problem, "options": list(i.options), "label": i.letter},
            {"read": "{text} {query}", "choices": "options"},
            "label",
        ),
        (
            lambda i: {
                "query": i.problem,
                "options": [f"({a}){b}" for a, b in zip(RIGHT, i.options, strict=True)],
                "answer": None,
                "key": i.letter,
            },
            {"read": "query", "choices": "options"},
            "key",
        ),
    ],
)
def test_options_of_choices(row: Callable[[Item], Any], problem: Any, answer: Any) -> None:
    (entry,) = read([row(item) for item in CHOICE])
    assert entry["columns"] == {"problem": problem, "answer": answer} and entry["answer_kind"] == "choice"


def test_right_and_wrong_options_of_gpqa_are_read_as_the_benchmark() -> None:
    rows = []
    for item in CHOICE:
        wrong = [option for option in item.options if option != item.answer]
        columns = {f"Incorrect Answer {number}": option for number, option in enumerate(wrong, 1)}
        rows.append(
            {"Question": item.problem, "Correct Answer": item.answer, "Explanation": item.working} | columns
        )
    assert read(rows) == [{"benchmark": "gpqa_diamond"}]


def test_true_and_false_are_answered_in_words() -> None:
    rows = [{"question": item.problem, "answer": item.number % 2 == 0} for item in CHOICE]
    (entry,) = read(rows)
    assert entry["columns"]["answer"] == {"read": "answer", "map": {"true": "Yes", "false": "No"}}
    assert entry["answer_kind"] == "exact"


def test_a_mark_belongs_to_the_response_that_it_is_nearest_to() -> None:
    rows = [
        {
            "question": item.problem,
            "truth": item.hashed,
            "big": {"solution": item.attempt, "is_correct": True},
            "small": {"solution": f"{item.number}: {item.failed}", "is_correct": False},
        }
        for item in MATH
    ]
    prompts, human, big, small = read(rows)
    assert prompts["columns"] == {"problem": "question", "answer": "truth"}
    assert human == {
        "kind": "human",
        "columns": {"problem": "question", "response": "truth"},
        "rewrite": ["gsm8k"],
    }
    assert big["columns"]["score"] == "big.is_correct" and big["kind"] == "teacher"
    assert small["columns"]["score"] == "small.is_correct"


def test_the_first_exchange_is_read_where_the_prompt_is_its_question() -> None:
    rows = [
        {
            "prompt": item.problem,
            "messages": [
                user(item.problem),
                assistant(item.attempt),
                user("Thanks!"),
                assistant("You are welcome."),
            ],
        }
        for item in MATH
    ]
    (entry,) = read(rows)
    assert entry["columns"] == {"problem": "prompt", "response": "messages"}
    assert entry["turns"] == {"use": "first"}


def test_thinking_in_a_field_of_its_own_is_kept() -> None:
    reply = [assistant(item.attempt) | {"reasoning_content": item.thought} for item in MATH]
    rows = [{"messages": [user(item.problem), turn]} for item, turn in zip(MATH, reply, strict=True)]
    (entry,) = read(rows)
    assert entry["turns"] == {"thinking": "keep"}


def test_a_license_that_all_rows_name_is_theirs() -> None:
    rows = [{"problem": item.problem, "answer": item.answer, "license": "cc-by-4.0"} for item in MATH]
    (entry,) = entries_for(recognise(fields_of(rows), rows), Origin(file="rows.jsonl"))
    assert entry.keys["license"] == "cc-by-4.0"


@pytest.mark.parametrize(
    "prompt",
    [
        "{} Let's think step by step and put the final answer within \\boxed{{}}.",
        "{}\n\nPresent the answer in LaTeX: \\boxed{{Your answer}}",
        "Solve the following problem.\n\n{}\n\nRemember to put your answer on its own line.",
    ],
)
def test_an_instruction_is_taken_off(prompt: str) -> None:
    rows = [{"prompt": [user(prompt.format(item.problem))], "answer": item.answer} for item in MATH]
    for count in (1, 2, len(rows)):
        (entry,) = read(rows[:count])
        assert entry["columns"]["problem"]["read"] == "prompt"
        kept = entry["columns"]["problem"]["unwrap"].replace("{{", "{").replace("}}", "}")
        assert kept.replace("{problem}", MATH[0].problem) == prompt.format(MATH[0].problem)


def test_what_all_problems_begin_with_is_no_instruction() -> None:
    words = ("kayak", "lemon", "table", "river", "stone")
    rows = [{"question": f"Spell this word backward: {word}", "answer": word[::-1]} for word in words]
    (entry,) = read(rows)
    assert entry["columns"] == {"problem": "question", "answer": "answer"}


def test_proofs_among_the_answers_do_not_make_their_kind_exact() -> None:
    rows = [{"problem": item.problem, "answer": item.answer} for item in MATH]
    proofs = [{"problem": f"Prove that {n} is no square.", "answer": "proof"} for n in range(11, 21)]
    missing = [{"problem": f"Find a divisor of {n}.", "answer": "notfound"} for n in range(11, 21)]
    (entry,) = read([*rows, *proofs, *missing])
    assert entry["answer_kind"] == "math" and entry["columns"]["answer"] == "answer"
