"""The pieces that several stages build from params: engine, verifier, encoded prompts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from hpt_core.config import Sampling
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import RolloutEngine, Sampler, Verifier
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.seeds import derive
from hpt_core.tables import quarantined
from hpt_core.types import Completion, Prompt, Responses, Verdict
from hpt_core.verifier import VerifierPool
from pipelines.params import Params

log = logging.getLogger(__name__)
T = TypeVar("T")
P = TypeVar("P")
"""A prompt as the sampler takes it: tokens, or text."""


def build_engine(params: Params, policy: LoadedPolicy) -> RolloutEngine:
    """The engine that params name, with the weights of `policy`.

    Raises InputError where the model has no positions for the longest prompt and response.
    """
    config = params.rollout
    longest, room = (
        config.max_prompt_tokens + config.max_new_tokens,
        policy.model.config.max_position_embeddings,
    )
    if longest > room:
        raise InputError(
            f"rollout.max_prompt_tokens + rollout.max_new_tokens is {longest}, and the model has {room} "
            "positions; lower one of them in params.yaml"
        )
    dtype = getattr(torch, config.dtype)
    if config.engine == "vllm":
        return VLLMEngine(policy, config.slots, dtype, config.vllm)
    return HFEngine(policy, config.slots, dtype)


def build_verifier(params: Params) -> VerifierPool:
    return VerifierPool(params.verifier.workers, params.verifier.timeout_s)


def tokenize_within_limit(
    chat: Chat, prompts: Sequence[Prompt], params: Params, stage: str, file: Path
) -> tuple[dict[str, list[int]], list[dict[str, Any]]]:
    """Tokens of the prompts within the limit, by prompt_id, and a quarantine row for each other one.

    `file` is where the prompts, in their order, were read from.

    Raises InputError where no prompt is within it.
    """
    limit = params.rollout.max_prompt_tokens
    encoded, too_long = chat.encode(prompts, limit)
    rows = [
        quarantined(
            stage,
            prompt.source,
            "prompt_too_long",
            f"{too_long[prompt.prompt_id]} tokens; raise rollout.max_prompt_tokens ({limit}) to keep it",
            file=str(file),
            line=line,
            row=prompt.problem,
        )
        for line, prompt in enumerate(prompts, 1)
        if prompt.prompt_id in too_long
    ]
    if not encoded:
        raise InputError(
            f"{stage}: each of the {len(rows)} prompts is longer than rollout.max_prompt_tokens ({limit}); "
            f"raise it in params.yaml, the shortest has {min(too_long.values(), default=0)} tokens"
        )
    if rows:
        log.warning(
            "%s: %d of %d prompts are longer than rollout.max_prompt_tokens", stage, len(rows), len(prompts)
        )
    return encoded, rows


@dataclass(frozen=True)
class SamplingRequest:
    """How often and under which name a policy is asked; the name is part of every seed."""

    purpose: str
    samples: int
    sampling: Sampling
    seed: int


def sample_and_verify(
    engine: Sampler[P], verifier: Verifier, prompts: Mapping[Prompt, P], asking: SamplingRequest
) -> list[Responses]:
    """Verified responses to prompts that are asked at once.

    The verdict on a completion that is none, which a server may refuse, is its error.
    """
    k = asking.samples
    pairs = [(prompt, tokens, i) for prompt, tokens in prompts.items() for i in range(k)]
    seeds = [derive(asking.seed, asking.purpose, prompt.prompt_id, i) for prompt, _, i in pairs]
    done = engine.generate([tokens for _, tokens, _ in pairs], seeds, asking.sampling)
    judged = _judge(done, [prompt for prompt, _, _ in pairs], verifier)
    return [
        Responses(pairs[first][0], done[first : first + k], judged[first : first + k])
        for first in range(0, len(pairs), k)
    ]


def _judge(done: Sequence[Completion], prompts: Sequence[Prompt], verifier: Verifier) -> list[Verdict]:
    said = [(c, p) for c, p in zip(done, prompts, strict=True) if c.error is None]
    verdicts = iter(verifier.verify([(c.response, p.answer, p.answer_kind) for c, p in said]))
    return [next(verdicts) if c.error is None else Verdict(False, None, c.error) for c in done]


def chunk(items: Sequence[T], slots: int, samples: int) -> list[Sequence[T]]:
    """As many at once as fit the engine's slots with `samples` responses each."""
    size = max(1, slots // samples)
    return [items[start : start + size] for start in range(0, len(items), size)]
