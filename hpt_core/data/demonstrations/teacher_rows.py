"""Verified samples of a teacher as rows of `tables.TEACHER_RESPONSES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpt_core.types import Completion, Prompt, Responses, Verdict


def as_rows(responses: Responses) -> list[dict[str, Any]]:
    """The responses to one prompt, a row for each."""
    return [
        {
            "prompt_id": responses.prompt.prompt_id,
            "sample": sample,
            "response": completion.response,
            "finish_reason": completion.finish_reason,
            "n_tokens": completion.n_tokens,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "no_response": completion.error,
            "no_verdict": verdict.error,
        }
        for sample, (completion, verdict) in enumerate(
            zip(responses.completions, responses.verdicts, strict=True)
        )
    ]


def from_rows(prompt: Prompt, rows: Sequence[Mapping[str, Any]]) -> Responses:
    """The inverse of `as_rows`, without token ids and log-probabilities, which the table does not hold."""
    completions = [
        Completion(
            row["response"],
            token_ids=(),
            logprobs=(),
            finish_reason=row["finish_reason"],
            billed=row["n_tokens"],
            error=row["no_response"],
        )
        for row in rows
    ]
    verdicts = [Verdict(row["correct"], row["extracted"], row["no_verdict"]) for row in rows]
    return Responses(prompt, completions, verdicts)
