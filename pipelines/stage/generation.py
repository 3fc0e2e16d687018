"""The parts that several stages build from params: the engine, the verifier, prompts as tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hpt_core.config import Sampling
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.protocols import Sampler, Verifier
from hpt_core.seeds import derive
from hpt_core.tables import QuarantineRow, quarantined
from hpt_core.types import Completion, Prompt, Responses, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.params import Params

log = logging.getLogger(__name__)
T = TypeVar("T")
P = TypeVar("P")
"""A prompt in the form that the sampler takes: tokens or text."""


def build_verifier(params: Params) -> VerifierPool:
    config = params.verifier
    return VerifierPool(config.workers, config.timeout_s, sandboxed=config.sandbox)


def tokenize_within_limit(
    chat: Chat, prompts: Sequence[Prompt], params: Params, stage: str, file: Path
) -> tuple[dict[str, list[int]], list[QuarantineRow]]:
    """Tokens of the prompts within rollout.max_prompt_tokens, by prompt_id; a quarantine row for each other.

    The prompts have the order of the lines of `file`, which they were read from.

    Raises InputError where no prompt is within the limit.
    """
    limit = params.rollout.max_prompt_tokens
    encoded, too_long, unencodable = chat.encode(prompts, limit)

    def row(line: int, prompt: Prompt) -> QuarantineRow:
        reason, detail = "unencodable", unencodable.get(prompt.prompt_id, "")
        if prompt.prompt_id in too_long:
            reason = "prompt_too_long"
            detail = (
                f"{too_long[prompt.prompt_id]} tokens; raise rollout.max_prompt_tokens ({limit}) to keep it"
            )
        return quarantined(
            stage, prompt.source, reason, detail, file=str(file), line=line, row=prompt.problem
        )

    rows = [row(line, prompt) for line, prompt in enumerate(prompts, 1) if prompt.prompt_id not in encoded]
    if not encoded and unencodable:
        raise InputError(f"{stage}: no prompt can be encoded; of the first: {rows[0]['detail']}")
    if not encoded:
        raise InputError(
            f"{stage}: each of the {len(rows)} prompts is longer than rollout.max_prompt_tokens ({limit}); "
            f"raise it in params.yaml, the shortest has {min(too_long.values(), default=0)} tokens"
        )
    if too_long:
        message = "%s: %d of %d prompts are longer than rollout.max_prompt_tokens"
        log.warning(message, stage, len(too_long), len(prompts))
    if unencodable:
        message = "%s: %d of %d prompts spell a control token that cannot be encoded as text"
        log.warning(message, stage, len(unencodable), len(prompts))
    return encoded, rows


@dataclass(frozen=True)
class SamplingRequest:
    """The number of responses to each prompt, and how they are sampled."""

    purpose: str
    """Part of the seed of every response."""
    samples: int
    sampling: Sampling
    seed: int


def sample_and_verify(
    engine: Sampler[P], verifier: Verifier, prompts: Mapping[Prompt, P], request: SamplingRequest
) -> list[Responses]:
    """Sample responses to all prompts in one call, and verify them.

    Where a server refused to complete a prompt, the error of the verdict is the server's reason.
    """
    samples = request.samples
    requests = [(prompt, tokens, i) for prompt, tokens in prompts.items() for i in range(samples)]
    seeds = [derive(request.seed, request.purpose, prompt.prompt_id, i) for prompt, _, i in requests]
    completions = engine.generate([tokens for _, tokens, _ in requests], seeds, request.sampling)
    verdicts = _verify(completions, [prompt for prompt, _, _ in requests], verifier)
    return [
        Responses(
            requests[first][0],
            completions[first : first + samples],
            verdicts[first : first + samples],
        )
        for first in range(0, len(requests), samples)
    ]


def _verify(
    completions: Sequence[Completion], prompts: Sequence[Prompt], verifier: Verifier
) -> list[Verdict]:
    responses = [(c, p) for c, p in zip(completions, prompts, strict=True) if c.error is None]
    verdicts = iter(verifier.verify([(c.response, p.answer, p.answer_kind) for c, p in responses]))
    return [next(verdicts) if c.error is None else Verdict(False, None, c.error) for c in completions]


def chunk(items: Sequence[T], slots: int, samples: int) -> list[Sequence[T]]:
    """Cut `items` so that each part, with `samples` responses to each item, fits the engine's slots."""
    size = max(1, slots // samples)
    return [items[start : start + size] for start in range(0, len(items), size)]
