"""Six requests, the responses of the server of the tests to them, and its refusal under load."""

from __future__ import annotations

from hpt_core.config import Sampling
from hpt_core.types import Completion

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64)
PROBLEMS = [f"{i} + {i} =" for i in range(6)]
SEEDS = [(i + 1) << 32 for i in range(6)]
BUSY = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}


def expected_responses(problems: list[str], seeds: list[int]) -> list[str]:
    """What the server responds by default."""
    return [f"{problem} by {seed >> 32}" for problem, seed in zip(problems, seeds, strict=True)]


def responses(completions: list[Completion]) -> list[str]:
    return [completion.response for completion in completions]
