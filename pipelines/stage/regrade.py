"""Where the verifier had no verdict, as on a busy machine, it is asked once more and given more time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from hpt_core.protocols import Verifier
from hpt_core.types import Prompt, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.params import Params
from pipelines.stage.generation import build_verifier
from pipelines.stage.shards import Row, Shards

log = logging.getLogger(__name__)
PATIENCE = 10
"""A response without a verdict is judged again with so many times verifier.timeout_s."""


def retry_timeout(params: Params) -> float:
    """Seconds that a response may take the second time."""
    return PATIENCE * params.verifier.timeout_s


class RetryingVerifier:
    """A `Verifier` that asks once more, with more time, where there is no verdict."""

    def __init__(self, params: Params, verifier: Verifier) -> None:
        self.params, self.verifier = params, verifier

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        verdicts = self.verifier.verify(items)
        silent = [i for i, verdict in enumerate(verdicts) if verdict.error is not None]
        if silent:
            log.info("judging %d responses again, %g s for each", len(silent), retry_timeout(self.params))
            with _longer(self.params) as longer:
                again = longer.verify([items[i] for i in silent])
            for i, verdict in zip(silent, again, strict=True):
                verdicts[i] = verdict
        return verdicts


def _longer(params: Params) -> VerifierPool:
    return build_verifier(
        params.model_copy(
            update={"verifier": params.verifier.model_copy(update={"timeout_s": retry_timeout(params)})}
        )
    )


def regrade(
    params: Params, shards: Shards, numbers: Iterable[int], prompt_of: Callable[[Row], Prompt]
) -> list[Row]:
    """Judge the responses with a `no_verdict` in these shards, and keep the verdicts there.

    Returns the rows that have none still.
    """
    left: list[Row] = []
    with _longer(params) as verifier:
        for number in numbers:
            rows = list(shards.rows([number]))
            answered = [row for row in rows if row.get("no_response") is None]
            silent = [row for row in answered if row["no_verdict"] is not None]
            if not silent:
                continue
            log.info("judging %d responses again, %g s for each", len(silent), retry_timeout(params))
            prompts = map(prompt_of, silent)
            items = [
                (row["response"], p.answer, p.answer_kind) for row, p in zip(silent, prompts, strict=True)
            ]
            for row, verdict in zip(silent, verifier.verify(items), strict=True):
                row |= {
                    "correct": verdict.correct,
                    "extracted": verdict.extracted,
                    "no_verdict": verdict.error,
                }
            shards.replace(number, rows)
            left += [row for row in silent if row["no_verdict"] is not None]
    return left
