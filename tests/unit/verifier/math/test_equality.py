"""Equality of mathematical answers: what is the same, and what a policy must not pass off as the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hpt_core.verifier import math

TABLES = Path(__file__).parent
SAME, DIFFERENT = (
    [tuple(line.split(" | ")) for line in (TABLES / name).read_text(encoding="utf-8").splitlines()]
    for name in ("same.txt", "different.txt")
)
"""Pairs of answers, one a line, divided by " | "."""


def both_ways(pairs: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    assert all(len(pair) == 2 for pair in pairs)
    return [(answer, gold) for a, b in pairs for answer, gold in ((a, b), (b, a))]


def verdict(answer: str, gold: str) -> bool:
    quick = math.quick_equal(answer, gold)
    full = math.equal(answer, gold)
    assert quick is None or quick == full
    return full


@pytest.mark.parametrize(("answer", "gold"), both_ways(SAME))
def test_answers_that_are_the_same(answer: str, gold: str) -> None:
    assert verdict(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), both_ways(DIFFERENT))
def test_answers_that_differ(answer: str, gold: str) -> None:
    assert not verdict(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("2+2=5", "5"),
        (r"P=\frac{6000}{2}\approx 2500.0", r"P=\frac{5000}{2}\approx 2500.0"),
        ("42=43", "43"),
        ("x=12=13", "13"),
        (r"42 \approx 43", "42"),
        (r"\sqrt2\approx1.5", r"\sqrt2"),
    ],
)
def test_a_calculation_that_is_false_is_no_answer(answer: str, gold: str) -> None:
    assert not verdict(answer, gold)


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "(10^{10^{10}})!",
        r"\sum_{k=1}^{10^9} \frac1k",
        r"\int_0^1 \int_0^1 \sin(1/(xy)) dx dy",
        r"\binom{10^6}{5\cdot10^5}",
        r"\sinh(10^{9})",
        "(" * 500 + "x" + ")" * 500,
        r"\frac{" * 300,
        "x" + "^{x" * 300 + "}" * 300,
        "1," * 900 + "1",
        "|" * 600,
        r"\pm1," * 300 + "5",
        "\x00",
        "9" * 1999,
    ],
)
def test_hostile_answers_are_decided_soon(answer: str) -> None:
    """Were one not, the test run would end at the time limit of a test."""
    assert not verdict(answer, "5")


def test_the_order_of_matrices_counts() -> None:
    a, b = r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}0&1\\1&0\end{pmatrix}"
    assert verdict(a + b, a + b) and not verdict(a + b, b + a)


def test_answers_of_every_form_can_be_compared_with_each_other() -> None:
    """A form for which no rule was thought of is different, and no error."""
    texts = sorted({text for pair in (*SAME, *DIFFERENT) for text in pair})
    draw = random.Random(0)
    for _ in range(5000):
        math.quick_equal(draw.choice(texts), draw.choice(texts))
