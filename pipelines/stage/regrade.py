"""A second attempt at grading, with more time, for responses that got no verdict, as on a busy machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hpt_core.protocols import Verifier
from hpt_core.types import Prompt, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.params import Params
from pipelines.stage.generation import build_verifier
from pipelines.stage.shards import ShardRow, Shards

log = logging.getLogger(__name__)
RETRY_FACTOR = 10
"""The time limit of the second attempt, in multiples of verifier.timeout_s."""
PATIENCE = 3
"""The same for rollouts and dev responses, which a step of training waits for."""


class Unjudged(NamedTuple):
    """A response without a verdict after its second attempt."""

    row: ShardRow
    over_limit: bool
    """The response is the cause: see `Verdict.over_limit`."""


def retry_timeout(params: Params) -> float:
    """The time limit of the second attempt, in seconds for each response."""
    return RETRY_FACTOR * params.verifier.timeout_s


class RetryingVerifier:
    """A `Verifier` that grades a response a second time, with more time, if it got no verdict."""

    def __init__(self, params: Params, verifier: Verifier) -> None:
        self.params, self.verifier = params, verifier

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        verdicts = self.verifier.verify(items)
        unjudged = [i for i, verdict in enumerate(verdicts) if verdict.error is not None]
        if unjudged:
            _log_retry(len(unjudged), retry_timeout(self.params))
            with _build_retry_verifier(self.params) as verifier:
                _judge_again(items, verdicts, unjudged, verifier)
        return verdicts


class PatientVerifier:
    """A `Verifier` that grades a response over the limits again, alone, before it counts as not solved."""

    def __init__(self, params: Params, verifier: Verifier) -> None:
        self.params, self.verifier = params, verifier

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        verdicts = self.verifier.verify(items)
        slow = [i for i, verdict in enumerate(verdicts) if verdict.over_limit]
        if slow:
            timeout_s = PATIENCE * self.params.verifier.timeout_s
            _log_retry(len(slow), timeout_s)
            with _build_with(self.params, timeout_s=timeout_s, workers=1) as verifier:
                _judge_again(items, verdicts, slow, verifier)
        return verdicts


def _judge_again(
    items: Sequence[tuple[str, str, str]],
    verdicts: list[Verdict],
    indices: Sequence[int],
    verifier: Verifier,
) -> None:
    """Replace the verdicts at `indices` by those of `verifier`."""
    for i, verdict in zip(indices, verifier.verify([items[i] for i in indices]), strict=True):
        verdicts[i] = verdict


def _build_retry_verifier(params: Params) -> VerifierPool:
    return _build_with(params, timeout_s=retry_timeout(params))


def _build_with(params: Params, **changes: float) -> VerifierPool:
    verifier = params.verifier.model_copy(update=changes)
    return build_verifier(params.model_copy(update={"verifier": verifier}))


def _log_retry(count: int, timeout_s: float) -> None:
    log.info("grading %d responses again, with %g s for each", count, timeout_s)


def regrade(
    params: Params, shards: Shards, numbers: Iterable[int], prompt_of: Callable[[ShardRow], Prompt]
) -> list[Unjudged]:
    """Grade the responses with a `no_verdict` in these shards again, and write the verdicts to the shards.

    Returns the responses that still have no verdict.
    """
    remaining: list[Unjudged] = []
    with _build_retry_verifier(params) as verifier:
        for number in numbers:
            rows = list(shards.rows([number]))
            answered = [row for row in rows if row.get("no_response") is None]
            unjudged = [row for row in answered if row["no_verdict"] is not None]
            if not unjudged:
                continue
            _log_retry(len(unjudged), retry_timeout(params))
            prompts = map(prompt_of, unjudged)
            items = [
                (row["response"], p.answer, p.answer_kind) for row, p in zip(unjudged, prompts, strict=True)
            ]
            for row, verdict in zip(unjudged, verifier.verify(items), strict=True):
                row |= {
                    "correct": verdict.correct,
                    "extracted": verdict.extracted,
                    "no_verdict": verdict.error,
                }
                if verdict.error is not None:
                    remaining.append(Unjudged(row, verdict.over_limit))
            shards.replace(number, rows)
    return remaining
