"""Grading of right and wrong answers of every kind, and references that cannot be read."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from hpt_core.errors import InputError, VerifierError
from hpt_core.verifier import answers, check_kind, gold_problem, grade
from hpt_core.verifier.reasoning import is_plain_expression

GSM8K = Path(os.environ.get("HPT_GSM8K", Path(__file__).parents[4] / "shared/data/gsm8k"))
needs_gsm8k = pytest.mark.skipif(
    not (GSM8K / "train.jsonl").is_file(), reason="GSM8K not found; set HPT_GSM8K to its folder"
)

SOLUTION = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n#### 72"
COUNTDOWN = json.dumps({"answer": "(2 + 3) * 4", "metadata": {"numbers": [2, 3, 4], "target": 20}})
INTEGRAL = json.dumps({"answer": "x**2 + C", "metadata": {"variable": "x", "integrand": "2*x"}})
QUEENS = json.dumps({"answer": "Q _\n_ Q", "metadata": {"valid_answers": ["Q _\n_ Q", "_ Q\nQ _"]}})


@pytest.mark.parametrize(
    ("kind", "gold", "right", "wrong"),
    [
        ("math", r"\frac{1}{2}", r"\boxed{0.5}", r"\boxed{0.6}"),
        ("math", r"\frac{1}{2}", r"The answer is $\dfrac12$.", r"The answer is $-\frac12$."),
        ("math", r"so $x=\boxed{x^2-1}$", r"\boxed{(x-1)(x+1)}", r"\boxed{(x-1)(x+2)}"),
        ("math", "18", r"\boxed{+18}", r"\boxed{81}"),
        ("math", r"\{1,2\}", r"\boxed{\{2,1\}}", r"\boxed{\{2,3\}}"),
        ("math", r"\text{even}", r"\boxed{even}", r"\boxed{odd}"),
        ("math", "1234", r"\boxed{1,234}", r"\boxed{1,235}"),
        ("gsm8k", SOLUTION, "#### 72", "#### 24"),
        ("gsm8k", "She earns $18.\nA: 18", "The answer is $18.00 per day.", "The answer is $1.8."),
        ("gsm8k", "1,200", r"\boxed{\$1{,}200}", r"\boxed{12}"),
        ("gsm8k", "72", "Answer: 72%.", "Answer: 7 or 2"),
        ("gsm8k", "-5", "A: -5 degrees", "A: 5 degrees"),
        ("gsm8k", "0.5", r"\boxed{\frac{1}{2}}", r"\boxed{\frac{5}{1}}"),
        ("choice", "C", "Answer: C", "Answer: D"),
        ("choice", "(c)", r"\boxed{\text{(C) }5}", r"\boxed{\text{(B) }5}"),
        ("choice", "A", "The answer is A. A dog", "The answer is a dog"),
        ("choice", "B", "The answer is B because it fits.", "The answer is B and C"),
        ("exact", "New  York", "Answer: new york.", "Answer: york"),
        ("reasoning_gym:gcd", "12", "Answer: 12", "Answer: 6"),
        ("reasoning_gym:chain_sum", "1000", "Answer: +1,000.00", "Answer: 1001"),
        ("reasoning_gym:countdown", COUNTDOWN, "Answer: 4*(3+2)", "Answer: 4*5"),
        ("reasoning_gym:simple_integration", INTEGRAL, "Answer: x**2 + 7", "Answer: x**3"),
        ("reasoning_gym:n_queens", QUEENS, "<answer>_ Q\nQ _</answer>", "<answer>Q Q\n_ _</answer>"),
    ],
)
def test_right_and_wrong(kind: str, gold: str, right: str, wrong: str) -> None:
    assert gold_problem(gold, kind) is None
    assert grade(right, gold, kind).correct is True
    verdict = grade(wrong, gold, kind)
    assert (verdict.correct, verdict.error) == (False, None)


def test_a_response_without_an_answer_is_wrong_and_not_an_error() -> None:
    verdict = grade("I cannot\nsay.", "72", "gsm8k")
    assert (verdict.correct, verdict.extracted, verdict.error) == (False, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$1,234.50.", Fraction("1234.5")),
        ("72.0", Fraction(72)),
        ("48 + 24 = 72 clips", Fraction(72)),
        ("72 (48 + 24)", Fraction(72)),
        ("-$5", Fraction(-5)),
        ("100 m2", Fraction(100)),
        (".5", Fraction(1, 2)),
        ("3,4", None),
        ("5 hours and 30 minutes", None),
        ("7^2", None),
        ("1/0", None),
        ("9" * 5000, None),
        ("none", None),
    ],
)
def test_numbers(text: str, value: Fraction | None) -> None:
    assert answers.number(text) == value


@pytest.mark.parametrize(
    ("gold", "kind", "words"),
    [
        ("", "exact", "empty"),
        ("  ", "math", "empty"),
        ("?!", "math", "no number"),
        (r"\frac{1}{2", "math", "unbalanced"),
        ("many", "gsm8k", "no number"),
        ("Paris", "choice", "names no choice"),
        ("(2 + 3) * 4", "reasoning_gym:countdown", "metadata"),
    ],
)
def test_unreadable_references_raise_and_are_never_graded(gold: str, kind: str, words: str) -> None:
    problem = gold_problem(gold, kind)
    assert problem is not None and words in problem
    with pytest.raises(VerifierError, match=words):
        grade("Answer: 1", gold, kind)


@pytest.mark.parametrize("kind", ["maths", "", "reasoning_gym:", "reasoning_gym:no_such_task"])
def test_unknown_kinds_raise(kind: str) -> None:
    for call in (
        lambda: check_kind(kind),
        lambda: grade("Answer: 1", "2", kind),
        lambda: gold_problem("2", kind),
    ):
        with pytest.raises(InputError, match=r"gsm8k|no_such_task"):
            call()


@pytest.mark.parametrize("task", sorted(set(DATASETS) - {"composite"}))
def test_every_reasoning_gym_reference_is_accepted(task: str) -> None:
    """The entry goes through JSON, as in the prompts table. `grade_quickly` relies on this."""
    entry = reasoning_gym.create_dataset(task, size=1, seed=3)[0]
    gold = json.dumps({"answer": entry["answer"], "metadata": entry["metadata"]}, default=str)
    assert gold_problem(gold, f"reasoning_gym:{task}") is None
    if entry["answer"] is not None:
        assert grade(f"<answer>{entry['answer']}</answer>", gold, f"reasoning_gym:{task}").correct


SCORER_GOLDS = {
    "math": "5",
    "reasoning_gym:countdown": COUNTDOWN,
    "reasoning_gym:polynomial_multiplication": "x**2 - 1",
    "reasoning_gym:simple_integration": INTEGRAL,
    "reasoning_gym:string_insertion": "ABC",
    "reasoning_gym:spiral_matrix": "1 2 3",
    "reasoning_gym:binary_matrix": "0 1",
    "reasoning_gym:n_queens": QUEENS,
}


@pytest.mark.parametrize("kind", SCORER_GOLDS)
def test_an_answer_is_never_run_as_code(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for code in (f"open('{mark}', 'w')", f"__import__('pathlib').Path('{mark}').touch()"):
        for response in (
            f"<answer>{code}</answer>",
            f"Answer: {code}",
            f"\\boxed{{{code}}}",
            f"Answer: ${code}$",
        ):
            assert not grade(response, SCORER_GOLDS[kind], kind).correct
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["x.is_real", "S('1')", "x[0]", "eval", "a_b", "9**9**9", "x**999", "(" * 2000]
)
def test_unsafe_expressions_are_refused(text: str) -> None:
    assert not is_plain_expression(text, "simple_integration")


def test_plain_expressions_are_allowed() -> None:
    assert is_plain_expression("3*x**2*y**2/2 - x**(3/2) + sin(x)**2 + 1.5", "simple_integration")


@needs_gsm8k
def test_gsm8k_references_accept_themselves_only() -> None:
    solutions = [json.loads(line)["answer"] for line in (GSM8K / "train.jsonl").open(encoding="utf-8")]
    for solution in solutions:
        number = solution.rpartition("####")[2].strip()
        assert grade(solution, solution, "gsm8k").correct
        assert grade(f"A: {number}", solution, "gsm8k").correct
        assert not grade(solution, str(float(number.replace(",", "")) + 1), "gsm8k").correct


@needs_gsm8k
def test_verdicts_agree_with_the_published_ones_of_four_models() -> None:
    for line in (GSM8K / "model_solutions.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        for key, value in row.items():
            if isinstance(value, dict):
                verdict = grade(value["solution"], row["ground_truth"], "gsm8k")
                assert verdict.correct == value["is_correct"], (key, row["question"])
