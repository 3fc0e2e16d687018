"""Who can be asked for trajectories: a policy here, or a served model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hpt_core.config import EndpointConfig, Policy
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.protocols import Sampler
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.stage.generation import build_engine, tokenize_within_limit
from pipelines.stage.shards import Row

P = TypeVar("P")
WAVES = 8
"""Requests of a part for each that may be under way: at the end of a part some wait for its last."""


@dataclass(frozen=True)
class TeacherBackend(Generic[P]):
    """Who is asked, and what."""

    sampler: Sampler[P]
    prompts: Mapping[Prompt, P]
    too_long: list[Row]
    """Quarantine rows of the prompts that it cannot be asked."""
    at_once: int
    """Responses of a part."""
    author: str
    chat_template: str
    system_prompt: str | None


def local(
    params: Params, config: Policy, max_new_tokens: int, folder: Path, prompts: Sequence[Prompt], file: Path
) -> TeacherBackend[Sequence[int]]:
    """The policy in `folder`, for the prompts of `file`.

    Raises InputError where it has no positions for the longest prompt and response.
    """
    teacher = load_policy(folder)
    longest = params.rollout.max_prompt_tokens + max_new_tokens
    if longest > (room := teacher.model.config.max_position_embeddings):
        raise InputError(
            f"rollout.max_prompt_tokens + teacher.max_new_tokens is {longest}, and the teacher has {room} "
            "positions; lower one of them in params.yaml"
        )
    engine = build_engine(params, teacher)
    tokens, too_long = tokenize_within_limit(Chat(teacher.tokenizer), prompts, params, "experts", file)
    # A folder's path is this machine's business; its name and the weights' hash say what it is.
    name = Path(config.model).name if config.model and Path(config.model).is_dir() else config.model
    template = hashlib.sha256(str(teacher.tokenizer.chat_template).encode()).hexdigest()
    return TeacherBackend(
        engine,
        {prompt: tokens[prompt.prompt_id] for prompt in prompts if prompt.prompt_id in tokens},
        too_long,
        at_once=params.rollout.slots,
        author=f"{name or 'warm-start'}@{config.revision or engine.policy}",
        chat_template=f"sha256:{template}",
        system_prompt=config.system_prompt,
    )


def served(config: EndpointConfig, prompts: Sequence[Prompt], response_log: Path) -> TeacherBackend[str]:
    """The model behind an endpoint."""
    endpoint = Endpoint(config, response_log, "teacher.endpoint")
    return TeacherBackend(
        endpoint,
        {prompt: prompt.problem for prompt in prompts},
        too_long=[],  # the server has the tokenizer, and says so itself
        at_once=WAVES * config.concurrency,
        author=endpoint.policy,
        chat_template="the server's",
        system_prompt=config.system_prompt,
    )
