"""Three prompts, and what makes a response to them eligible."""

from __future__ import annotations

from typing import Any

from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.problems import prompt_id
from hpt_core.types import Prompt


def prompt(problem: str, answer: str, kind: str = "gsm8k") -> Prompt:
    return Prompt(prompt_id(problem), problem, answer, kind, "p", "mit")


PROMPTS = [prompt("Half of 144?", "72"), prompt("One and one?", "2"), prompt("Ten less one?", "9")]


def count_words(text: str) -> int:
    return len(text.split()) + 1


def eligibility(**fields: Any) -> Eligibility:
    return Eligibility(**{"count_tokens": count_words, "licenses": ["mit"], "max_tokens": 20} | fields)
