"""The pieces that several stages build from params: engine, verifier, encoded prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from hpt_core.chat import Chat
from hpt_core.data.tables import quarantined
from hpt_core.errors import InputError
from hpt_core.model import LoadedPolicy
from hpt_core.rollout.hf import HFEngine
from hpt_core.types import Prompt
from hpt_core.verifier import VerifierPool
from pipelines.params import Params

log = logging.getLogger(__name__)


def build_engine(
    params: Params, policy: LoadedPolicy, on_tokens: Callable[[int], None] = lambda count: None
) -> HFEngine:
    return HFEngine(policy, params.rollout.slots, getattr(torch, params.rollout.dtype), on_tokens)


def build_verifier(params: Params) -> VerifierPool:
    return VerifierPool(params.verifier.workers, params.verifier.timeout_s)


def fitting(
    chat: Chat, prompts: Sequence[Prompt], params: Params, stage: str
) -> tuple[dict[str, list[int]], list[dict[str, Any]]]:
    """Tokens of the prompts within the limit, by prompt_id, and a quarantine row for each other one.

    Raises InputError where no prompt is within it.
    """
    limit = params.rollout.max_prompt_tokens
    encoded, too_long = chat.encode(prompts, limit)
    rows = [
        quarantined(
            stage,
            prompt.source,
            "prompt_too_long",
            f"{too_long[prompt.prompt_id]} tokens; rollout.max_prompt_tokens is {limit}",
            row=prompt.problem,
        )
        for prompt in prompts
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
