"""A sample of the reference answers of each training source, for the error rates of the verifier."""

from __future__ import annotations

import heapq

from hpt_core.mutation import error_rates
from hpt_core.mutation.report import RatesEntry, entry
from hpt_core.protocols import Verifier
from hpt_core.seeds import derive
from hpt_core.types import Gold, Prompt

SIZE = 100
"""Answers of a source that are drawn. Each makes some fifteen verdicts, so that a source takes seconds."""


class AnswerSample:
    """The SIZE prompts of each source with the lowest seeds, whatever the order of the prompts."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: dict[str, list[tuple[int, Gold]]] = {}

    def offer(self, prompt: Prompt) -> None:
        drawn = self._drawn.setdefault(prompt.source, [])
        key = -derive(self._seed, "mutation_check", prompt.prompt_id)
        if len(drawn) < SIZE:
            heapq.heappush(drawn, (key, _gold(prompt)))
        elif key > drawn[0][0]:
            heapq.heapreplace(drawn, (key, _gold(prompt)))

    def rates(self, verifier: Verifier) -> dict[str, RatesEntry]:
        """The error rates of `verifier` by source."""
        return {
            source: entry(error_rates([gold for _, gold in sorted(drawn, key=_descending)], verifier))
            for source, drawn in sorted(self._drawn.items())
        }


def _gold(prompt: Prompt) -> Gold:
    return Gold(prompt.prompt_id, prompt.answer, prompt.answer_kind)


def _descending(draw: tuple[int, Gold]) -> int:
    return -draw[0]
