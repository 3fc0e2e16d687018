"""What a response states outside of its thinking."""

from __future__ import annotations

import pytest

from hpt_core.thinking import outside_thinking, unclosed_thinking, with_opening_tag


@pytest.mark.parametrize(
    ("response", "stated"),
    [
        ("It is 4.", "It is 4."),
        ("<think>3</think> It is 4.", " It is 4."),
        ("3</think> It is 4.", " It is 4."),
        ("<think>3", None),
        ("<think>3</think> 4 <think> or 5", None),
        ("<think>3</think> 4 <think>or 5</think>.", " 4 ."),
        ("<think>I write <think> first. </think>4", "4"),
        ("3 </think> 4 <think> 5 </think> 6", " 4  6"),
        ("<think></think>", ""),
        ("<thinking>3</thinking>4", "4"),
        ("<thinking>3", None),
        ("[THINK]3[/THINK]4", "4"),
        ("◁think▷3", None),
        ("<|channel|>analysis<|message|>3", None),
        ("<|channel|>analysis<|message|>3assistant<|channel|>final<|message|>4", "4"),
        ("<|channel|>final<|message|>4", "4"),
        ("", ""),
    ],
)
def test_outside_thinking(response: str, stated: str | None) -> None:
    assert outside_thinking(response) == stated


def test_thinking_that_a_prompt_opens() -> None:
    assert unclosed_thinking("<|assistant|>\n<think>\n") == "<think>\n"
    assert unclosed_thinking("<|assistant|>\n<think>\n\n</think>\n\n") == ""
    assert unclosed_thinking("<|assistant|>\n") == ""


def test_a_closing_tag_gets_its_opening_one() -> None:
    assert with_opening_tag("3\n</think>\n4") == "<think>\n3\n</think>\n4"
    assert with_opening_tag("<think>3</think>4") == "<think>3</think>4"
    assert with_opening_tag("4") == "4"
