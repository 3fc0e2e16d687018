"""Texts with numbers replaced, and the keys of their figures and answers."""

from __future__ import annotations

import pytest

from hpt_core.data.curation.text_normalize import (
    answer_key,
    distinctive_words,
    figures,
    figures_key,
    normalized_text,
)
from hpt_core.data.problems import same_answer


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ("Tom's 2 1/2 hens lay twelve eggs!", "tom s # hens lay # eggs"),
        ("She pays $1,234.50, twice.", "she pays #"),
        (r"Simplify $\frac{1}{2} + x_3$.", "simplify frac # x #"),
        ("\uff26\uff35\uff2c\uff2c  width \uff13", "full width #"),
        ("求 3 的平方", "求 # 的 平 方"),
        ("+ - =", ""),
    ],
)
def test_normalized_text(problem: str, text: str) -> None:
    assert normalized_text(problem) == text


def test_a_changed_number_changes_the_figures_and_not_the_text() -> None:
    a, b = "Ann has 3 hens and 14 eggs.", "Ann has twenty hens and 9 eggs."
    assert normalized_text(a) == normalized_text(b)
    assert figures(a) != figures(b)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("What is 5 + 3 - 3?", "What is 5 - 3 + 3?", False),
        ("What is 5 + 3?", "Tell me: 5 + 3", True),
        ("A twenty-year-old well-off man", "A twenty year old well off man", True),
        ("x - 1", "x 1", False),
        ("1,000 hens", "1000 hens", True),
        ("two hens", "three hens", False),
        ("two hens lay 3 eggs", "3 hens lay two eggs", False),
        ("often x_two stones", "off x_two stones", True),
    ],
)
def test_figures_are_numbers_and_operators_in_their_order(a: str, b: str, same: bool) -> None:
    assert (figures(a) == figures(b)) is same
    assert (figures_key(a, "8") == figures_key(b, "8")) is same
    assert figures_key(a, "8") != figures_key(a, "9")


ANSWERS = ["72", "72.0", "1,000", "1000", "7.20e1", "-0", "0", "seventy", "Seventy", "NaN", "1/2", ""]


def test_answer_keys_agree_with_same_answer() -> None:
    for a in ANSWERS:
        for b in ANSWERS:
            assert (answer_key(a) == answer_key(b)) is same_answer(a, b), (a, b)


def test_variables_and_numbers_are_not_distinctive() -> None:
    assert distinctive_words({"find", "x", "and", "y", "in", "#", "where", "求"}) == 5
