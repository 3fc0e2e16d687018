"""Extraction of the answer from a response."""

from __future__ import annotations

import time

import pytest

from hpt_core.verifier.extraction import extract_answer


@pytest.mark.parametrize(
    ("response", "kind", "answer"),
    [
        (r"first \boxed{1}, then \boxed{\frac{1}{2}}.", "math", r"\frac{1}{2}"),
        (r"\fbox{7}", "math", "7"),
        (r"\boxed{\{1, 2\}}", "math", r"\{1, 2\}"),
        (r"\boxed{3} and cut short: \boxed{\frac{1}{2}", "math", "3"),
        (r"\boxed{x = \boxed{5}}", "math", "5"),
        (r"\boxed{5}, not \boxed{}", "math", "5"),
        ("Answer: 9\nso \\boxed{8}", "gsm8k", "8"),
        ("Answer: 9\n#### 72", "gsm8k", "72"),
        ("So 40.\nA: 72", "gsm8k", "72"),
        ("The answer is 5. No: the answer is $1,234.50.", "gsm8k", "$1,234.50"),
        ("**Answer:** 72", "gsm8k", "72"),
        ("**Final answer: 72**", "gsm8k", "72"),
        ("Answer:\n72", "gsm8k", "72"),
        ("72", "gsm8k", "72"),
        ("48 + 24 = 72\nThat is all.", "gsm8k", None),
        ("Not (A). Answer: C", "choice", "C"),
        ("It is (A)... rather (B)", "choice", "B"),
        (r"\boxed{\text{D}}", "choice", "D"),
        ("f(A) is nothing\nto choose", "choice", None),
        ("Let me see.\nParis\n", "exact", "Paris"),
        ("Answer: Paris\nas everyone knows", "exact", "Paris"),
        ("Answer: _ Q _ _", "reasoning_gym:n_queens", "_ Q _ _"),
        ("<answer>1 2\n3 4</answer>", "reasoning_gym:rotate_matrix", "1 2\n3 4"),
        ("two lines\nwithout an answer", "reasoning_gym:gcd", None),
        (r"so that $x = 2$ and $y = 3$.", "math", "$x = 2$ and $y = 3$"),
        ("The answer is $11,\\! 111$.", "math", "$11,\\! 111$"),
        ("", "math", None),
    ],
)
def test_extracted_answer(response: str, kind: str, answer: str | None) -> None:
    assert extract_answer(response, kind) == answer


@pytest.mark.parametrize("kind", ["math", "gsm8k", "choice", "exact", "reasoning_gym:gcd"])
def test_thinking_states_no_answer(kind: str) -> None:
    for cut in ("<think>\nIt is \\boxed{4}.", "<thinking>The answer is 4", "4</think>", "<think>4</think>\n"):
        assert extract_answer(cut, kind) is None
    for whole in ("<think>\n\\boxed{5}</think>\nThe answer is \\boxed{4}", "\\boxed{5}</think>\\boxed{4}"):
        assert extract_answer(whole, kind) == "4"


@pytest.mark.parametrize("kind", ["math", "gsm8k", "choice", "exact", "reasoning_gym:gcd"])
@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "{", "}", "\\", "(A", "answer is ", "answer:", "####", "A:\n", "$", "\n", "<answer>", "*"],
)
def test_time_is_linear_for_hostile_responses(unit: str, kind: str) -> None:
    response = unit * (200_000 // len(unit))
    start = time.process_time()
    extract_answer(response, kind)
    assert time.process_time() - start < 20  # linear work takes 0.2 s, quadratic work takes minutes
