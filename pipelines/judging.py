"""Where the verifier had no verdict, as on a busy machine, it is asked once more and given more time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.policy import build_verifier
from pipelines.shards import Row, Shards

log = logging.getLogger(__name__)
PATIENCE = 10
"""A response without a verdict is judged again with so many times verifier.timeout_s."""


def patience(params: Params) -> float:
    """Seconds that a response may take the second time."""
    return PATIENCE * params.verifier.timeout_s


def judge_again(
    params: Params, shards: Shards, numbers: Iterable[int], prompt_of: Callable[[Row], Prompt]
) -> list[Row]:
    """Judge the responses with a `no_verdict` in these shards, and keep the verdicts there.

    Returns the rows that have none still.
    """
    longer = params.verifier.model_copy(update={"timeout_s": patience(params)})
    left: list[Row] = []
    with build_verifier(params.model_copy(update={"verifier": longer})) as verifier:
        for number in numbers:
            rows = list(shards.rows([number]))
            answered = [row for row in rows if row.get("no_response") is None]
            silent = [row for row in answered if row["no_verdict"] is not None]
            if not silent:
                continue
            log.info("judging %d responses again, %g s for each", len(silent), longer.timeout_s)
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
