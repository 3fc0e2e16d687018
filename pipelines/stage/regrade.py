"""A second attempt at grading, with more time, for responses that got no verdict, as on a busy machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from hpt_core.protocols import Verifier
from hpt_core.types import Prompt, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.params import Params
from pipelines.stage.generation import build_verifier
from pipelines.stage.shards import ShardRow, Shards

log = logging.getLogger(__name__)
RETRY_FACTOR = 10
"""The time limit of the second attempt, in multiples of verifier.timeout_s."""


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
            _log_retry(self.params, len(unjudged))
            with _build_retry_verifier(self.params) as verifier:
                retried = verifier.verify([items[i] for i in unjudged])
            for i, verdict in zip(unjudged, retried, strict=True):
                verdicts[i] = verdict
        return verdicts


def _build_retry_verifier(params: Params) -> VerifierPool:
    verifier = params.verifier.model_copy(update={"timeout_s": retry_timeout(params)})
    return build_verifier(params.model_copy(update={"verifier": verifier}))


def regrade(
    params: Params, shards: Shards, numbers: Iterable[int], prompt_of: Callable[[ShardRow], Prompt]
) -> list[ShardRow]:
    """Grade the responses with a `no_verdict` in these shards again, and write the verdicts to the shards.

    Returns the rows that still have no verdict.
    """
    remaining: list[ShardRow] = []
    with _build_retry_verifier(params) as verifier:
        for number in numbers:
            rows = list(shards.rows([number]))
            answered = [row for row in rows if row.get("no_response") is None]
            unjudged = [row for row in answered if row["no_verdict"] is not None]
            if not unjudged:
                continue
            _log_retry(params, len(unjudged))
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
            shards.replace(number, rows)
            remaining += [row for row in unjudged if row["no_verdict"] is not None]
    return remaining


def _log_retry(params: Params, count: int) -> None:
    log.info("grading %d responses again, with %g s for each", count, retry_timeout(params))
