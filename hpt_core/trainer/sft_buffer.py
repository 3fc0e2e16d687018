"""ReLIFT's buffer of prompts that no rollout solved; they are imitated later (arXiv 2506.07527)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from hpt_core.tables import GateRow


class SFTBuffer:
    """A first-in, first-out queue that holds each prompt at most once, however often it fails."""

    def __init__(self, size: int) -> None:
        """`size`: number of prompts that leave together."""
        self.size = size
        self.waiting: dict[str, None] = {}

    @classmethod
    def replay(cls, size: int, gate_rows: Iterable[GateRow]) -> SFTBuffer:
        """The buffer of a resumed run: its state after the steps whose gate rows are given in order."""
        buffer = cls(size)
        for _, rows in groupby(gate_rows, key=itemgetter("step")):
            buffer.add(
                row["prompt_id"]
                for row in rows
                if enters(row["pass_rate"], has_expert=row["trajectory_id"] is not None)
            )
            buffer.take()
        return buffer

    def add(self, prompt_ids: Iterable[str]) -> None:
        self.waiting.update(dict.fromkeys(prompt_ids))

    def take(self) -> list[str]:
        """Remove and return the `size` prompts that have waited longest; none while there are fewer."""
        if len(self.waiting) < self.size:
            return []
        taken = list(self.waiting)[: self.size]
        for prompt_id in taken:
            del self.waiting[prompt_id]
        return taken


def enters(pass_rate: float | None, *, has_expert: bool) -> bool:
    """Whether a prompt enters the buffer: no rollout solved it and it has a demonstration."""
    return pass_rate == 0 and has_expert
