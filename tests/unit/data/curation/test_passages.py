"""A problem inside a longer text: found as whole sentences, anywhere in the text."""

from __future__ import annotations

import pytest

from hpt_core.data.curation.passages import Passage
from hpt_core.data.problems import overlap_key


@pytest.mark.parametrize(
    ("problem", "text", "contained"),
    [
        ("Find x.", "FIND  x", True),
        ("Find x.", "First this. Find x. Then y.", True),
        ("Find x.", "First this: find x\nThen y.", True),
        ("Find x.", "**Find x.** Box it.", True),
        ("Find the root of $x^2.$", "Find the root of $x^2.$ Reason step by step.", True),
        ("Find (the root.)", "(Find (the root.))\nReason.", True),
        ("Find x.", "Find x.5 of it. Now find x.", True),
        ("Find x.", "Find x and y. Find xs.", False),
        ("Find x.", "Refind x.", False),
        ("What is 3 + 4?", "What is 3 + 4 - 2?", False),
        ("What is 3 + 4?", "What is 3 + 4.5?", False),
        ("What is 3 + 4?", "What is 3 + 45?", False),
        ("3 + 4 = ?", "2 + 3 + 4 = ?", False),
        ("3 + 4 = ?", "Solve this. 3 + 4 = ?", True),
        ("3 + 4 = ?", "Solve this. 3 + 4 = ? Box it.", True),
        ("What is 3?", "What is 3 : 4?", False),
        ("Spell backward: cat", "Spell backward: cat fish", False),
        ("Spell backward: cat", "Spell backward: cat\nAnswer: tac", True),
        ("Spell backward: cat", "Spell backward: catfish", False),
    ],
)
def test_contains(problem: str, text: str, contained: bool) -> None:
    assert Passage(text).contains(overlap_key(problem)) is contained


@pytest.mark.parametrize("line", [0, 1, 37, 98])
def test_a_sentence_may_end_at_the_end_of_any_line(line: int) -> None:
    lines = [f"row {number} of this text" for number in range(100)]
    text = "\n\n".join(lines)
    assert Passage(text).contains(overlap_key(lines[line]))
    assert not Passage(text.replace("\n", " ")).contains(overlap_key(lines[line]))
