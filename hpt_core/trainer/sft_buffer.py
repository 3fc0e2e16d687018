"""ReLIFT's buffer: prompts that no rollout solved wait there for imitation (arXiv 2506.07527)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any


class SFTBuffer:
    """First in, first out; a prompt waits once, however often it fails."""

    def __init__(self, size: int) -> None:
        """`size` prompts leave together."""
        self.size = size
        self.waiting: dict[str, None] = {}

    @classmethod
    def replay(cls, size: int, gate_rows: Iterable[dict[str, Any]]) -> SFTBuffer:
        """The buffer after the steps whose gate decisions (rows of `data.tables.GATE`) are given in order."""
        buffer = cls(size)
        for _, rows in groupby(gate_rows, key=itemgetter("step")):
            buffer.add(failed(rows))
            buffer.take()
        return buffer

    def add(self, prompt_ids: Iterable[str]) -> None:
        self.waiting.update(dict.fromkeys(prompt_ids))

    def take(self) -> list[str]:
        """The `size` prompts that have waited longest, which leave; none before there are so many."""
        if len(self.waiting) < self.size:
            return []
        taken = list(self.waiting)[: self.size]
        for prompt_id in taken:
            del self.waiting[prompt_id]
        return taken


def failed(gate_rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Prompts that no rollout solved and that have a demonstration."""
    for row in gate_rows:
        if row["pass_rate"] == 0 and row["trajectory_id"] is not None:
            yield row["prompt_id"]
