"""Texts that are stated, and the answers to tasks."""

from __future__ import annotations

from tests.unit.verifier.stated.judging import Rows, wrongly_judged

ROWS: Rows = [
    (
        "Paris",
        [
            "The answer is Paris.",
            "**Answer:** Paris",
            'Answer: "Paris"',
            "Answer: 'Paris'.",
            "Antwort: Paris",
            "La réponse est Paris.",
            "Respuesta: Paris",
            r"\boxed{Paris}",
            r"\boxed{\text{Paris}}",
            '{"answer": "Paris"}',
            "Final Answer:\nParis",
            "### Answer\n\nParis",
            "I think...\n\n**Paris**",
            "<answer> Paris </answer>",
            "<answer>\nParis\n</answer>",
            "The answer is: Paris. It is the capital of France.",
            "Final answer: **Paris**.",
            'The answer is "Paris."',
            '{"final_answer": "Paris"}',
            "```\nParis\n```",
            "Answer:\n```\nParis\n```",
            "答案：“Paris”",
            "Ответ: Paris.",
            "Resposta final: Paris",
            "Réponse : « Paris »",
            "<answer>**Paris**</answer>",
            "The answer is Paris because it is the capital.",
        ],
        [
            "Answer: Paris or London",
            "The answer is not Paris.",
            "The answer is Paris or Lyon.",
            "It is not Paris.",
        ],
    ),
    ("London", [], ["Answer: Paris", "<answer>Paris</answer> (not London)"]),
    ("Dr. No", ["The answer is Dr. No."], []),
    ("e.g.", ["Answer: e.g."], []),
    ("J. K. Rowling", ["The answer is J. K. Rowling."], []),
    ("3.14", ["The answer is 3.14."], []),
    ("No.", ["Answer: No"], []),
    ("no", ["Answer: No."], []),
    ("北京", ["答案是北京。", "答案：「北京」"], []),
    ("x2", [], ["Answer: x²"]),
    ("a, b", ["Answer: a, b"], []),
    ("Washington, D.C.", ["The answer is Washington, D.C."], []),
    ("Mt. Everest", ["Answer: Mt. Everest"], []),
    ("5 p.m.", ["The answer is 5 p.m."], []),
    ("Yes!", ["Answer: Yes!"], []),
    ("def f(x):", ["Answer: `def f(x):`"], []),
    ("12:30", ["The answer is 12:30."], []),
    ("it's", ["Answer: it's"], []),
    ("O'Neil", ["The answer is O'Neil."], []),
    ("a*b", ["Answer: a*b"], []),
    ("__init__", ["Answer: `__init__`"], []),
    ("snake_case", ["Answer: snake_case"], []),
    ("paris", [], ["Answer: Paris, France"]),
    ("yes", ["Yes"], ["Yes and no"]),
    ("cat", ["cat", "The word is:\ncat"], []),
]


def test_stated_texts() -> None:
    assert not wrongly_judged(ROWS, "exact")


TASK: Rows = [
    (
        "12",
        [
            "<answer>12</answer>",
            r"<answer>\boxed{12}</answer>",
            "**Answer:** 12",
            "Final Answer: 12",
            "The final answer is 12.",
            "<answer>your answer</answer> <answer>12</answer>",
            "<answer>11</answer> wait <answer>12</answer>",
            '{"answer": "12"}',
            "答案：12",
            "Antwort: 12",
            "Answer: **12**",
            "<answer>\n12\n</answer>\n",
        ],
        [
            "The answer is not 12.",
            "12 or 13",
            "<answer>12 or 6</answer>",
            "<answer>6</answer>\nThe answer is 12",
        ],
    ),
    ("6", [], ["<answer>12</answer> 6"]),
]


def test_stated_answers_to_tasks() -> None:
    assert not wrongly_judged(TASK, "reasoning_gym:gcd")
