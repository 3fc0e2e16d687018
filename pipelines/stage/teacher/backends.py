"""The two kinds of teacher: a policy that this process samples, and a model behind a server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from hpt_core.config import EndpointConfig, Policy
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.policy.sizes import check_positions
from hpt_core.protocols import Sampler
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.tables import QuarantineRow
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.stage.generation import tokenize_within_limit
from pipelines.stage.sampler import checked_engine

P = TypeVar("P")
REQUESTS_PER_SLOT = 8
"""Requests of a part for each concurrent request; at the end of a part, free slots wait for its last one."""


@dataclass(frozen=True)
class TeacherBackend(Generic[P]):
    """A teacher and the prompts in the form that it takes."""

    sampler: Sampler[P]
    prompts: Mapping[Prompt, P]
    too_long: list[QuarantineRow]
    """Quarantine rows of the prompts that are too long for the teacher."""
    responses_per_part: int
    author: str
    chat_template: str
    system_prompt: str | None
    not_sent: frozenset[str] = frozenset()
    """Sampling parameters that the server does not take, so that it chooses their values."""
    more_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of the server."""


@contextmanager
def local(
    params: Params, config: Policy, max_new_tokens: int, folder: Path, prompts: Sequence[Prompt], file: Path
) -> Iterator[TeacherBackend[Sequence[int]]]:
    """The policy in `folder`; `prompts` are those of `file`.

    Raises InputError where the longest prompt with the longest response exceeds the policy's positions.
    """
    teacher = load_policy(folder)
    longest = params.rollout.max_prompt_tokens + max_new_tokens
    check_positions(
        teacher.model,
        longest,
        f"teacher: rollout.max_prompt_tokens + teacher.max_new_tokens is {longest}",
        "lower one of them in params.yaml",
    )
    tokens, too_long = tokenize_within_limit(Chat(teacher.tokenizer), prompts, params, "experts", file)
    # The author of a local folder is the folder's name, because its path differs between machines.
    name = Path(config.model).name if config.model and Path(config.model).is_dir() else config.model
    template = hashlib.sha256(str(teacher.tokenizer.chat_template).encode()).hexdigest()
    with checked_engine(params, teacher, folder, tokens.values()) as engine:
        yield TeacherBackend(
            engine,
            {prompt: tokens[prompt.prompt_id] for prompt in prompts if prompt.prompt_id in tokens},
            too_long,
            responses_per_part=params.rollout.all_slots,
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
        too_long=[],  # Only the server has the tokenizer; it refuses a prompt that is too long.
        responses_per_part=REQUESTS_PER_SLOT * config.concurrency,
        author=endpoint.policy,
        chat_template="the server's",
        system_prompt=config.system_prompt,
        not_sent=frozenset(
            "max_new_tokens" if parameter == "max_tokens" else parameter
            for parameter, name in config.parameters.items()
            if name is None and parameter != "stream_options"
        ),
        more_parameters=config.body,
    )
