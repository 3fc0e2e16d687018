"""Fixtures: sources of a few rows, and a verifier whose rule is one comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import PromptSource
from hpt_core.types import Verdict


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (or raw lines, as bytes) to NAME and return the path."""

    def write(name: str, *rows: dict[str, Any] | bytes) -> Path:
        path = tmp_path / name
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture
def prompts_of(jsonl: Callable[..., Path]) -> Callable[..., PromptSource]:
    """Make a prompt source of (problem, answer) pairs."""

    def source(name: str, *pairs: tuple[str, str], kind: str = "exact") -> PromptSource:
        path = jsonl(f"{name}.jsonl", *({"problem": problem, "answer": answer} for problem, answer in pairs))
        return PromptSource(name=name, file=str(path), answer_kind=kind, license="mit")

    return source


class LastBox:
    """A verifier: correct if the last box is the reference; an error if the response contains TIMEOUT."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str, str]] = []

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        self.items += items
        return [self._judge(response, gold) for response, gold, _ in items]

    def _judge(self, response: str, gold: str) -> Verdict:
        if "TIMEOUT" in response:
            return Verdict(False, None, "grading took over 5.0 s")
        answer = response.rpartition("\\boxed{")[2].partition("}")[0]
        return Verdict(answer == gold, answer or None)


@pytest.fixture
def last_box() -> LastBox:
    return LastBox()
