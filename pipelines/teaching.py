"""Asking the teacher, a policy here or a served model: the hardest prompts first, up to a budget.

Killed at any moment it goes on: parts that were asked are shards (see pipelines/shards.py), and a server's
responses are in a journal beside them, which stays: what was paid for once is never asked again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

from hpt_core.chat import Chat
from hpt_core.config import EndpointConfig, Policy
from hpt_core.data import tables
from hpt_core.data.teacher import Teacher, as_rows, from_rows
from hpt_core.errors import EngineError, InputError
from hpt_core.model import load_policy
from hpt_core.protocols import Sampler, Verifier
from hpt_core.rollout.endpoint import Endpoint
from hpt_core.types import Prompt, Responses
from pipelines.origin import file_hash
from pipelines.params import Params, TeacherConfig
from pipelines.policy import Asking, answers, build_engine, fitting
from pipelines.shards import Part, Row, Shards, origin

P = TypeVar("P")
WAVES = 8
"""Requests of a part for each that may be under way: at the end of a part some wait for its last."""
HOW = {"url", "api_key_env", "requests_per_minute", "timeout_s", "retries"}
"""Of an endpoint: what decides no response."""


@dataclass(frozen=True)
class Inputs:
    train: Path = Path("data/prompts/train.parquet")
    pass_rates: Path = Path("data/rollouts/base/pass_rates.parquet")
    base: Path = Path("models/base")
    teacher: Path = Path("models/teacher_policy")


@dataclass(frozen=True)
class Respondent(Generic[P]):
    """Who is asked, and what."""

    sampler: Sampler[P]
    prompts: Mapping[Prompt, P]
    too_long: list[Row]
    """Quarantine rows of the prompts that are not asked."""
    at_once: int
    """Responses of a part."""
    author: str
    chat_template: str
    system_prompt: str | None


@dataclass(frozen=True)
class Asked:
    """What the teacher said, hardest prompt first."""

    responses: list[Responses]
    teacher: Teacher
    too_long: list[Row]
    unasked: int
    """Prompts that the budget did not reach."""
    tokens: int
    """All that were generated."""
    shards: Shards
    """To be discarded once the outputs stand."""


def ask_teacher(
    params: Params, config: TeacherConfig, inputs: Inputs, kept: Path, verifier: Verifier
) -> Asked:
    """Verified responses of the teacher; shards lie in `kept`, a server's journal beside it.

    Raises EngineError where the teacher cannot be brought to answer, or answers none of the prompts,
    InputError where it cannot be asked.
    """
    prompts = tables.read_prompts(inputs.train)
    if config.endpoint:
        return _ask(_served(config.endpoint, prompts, kept), params, config, inputs, kept, verifier)
    assert config.policy, "there is one of the two"
    who = _local(params, config.policy, config.max_new_tokens, inputs, prompts)
    return _ask(who, params, config, inputs, kept, verifier)


def hardest_first(prompts: Sequence[Prompt], pass_rates: Path) -> list[Prompt]:
    """The prompts in order of the starting policy's pass rate; one without counts as never solved."""
    rates = {row["prompt_id"]: row["pass_rate"] for row in tables.read(pass_rates, tables.PASS_RATES)}
    return sorted(prompts, key=lambda prompt: (rates.get(prompt.prompt_id, 0.0), prompt.prompt_id))


def _local(
    params: Params, config: Policy, max_new_tokens: int, inputs: Inputs, prompts: Sequence[Prompt]
) -> Respondent[Sequence[int]]:
    teacher = load_policy(inputs.teacher)
    longest = params.rollout.max_prompt_tokens + max_new_tokens
    if longest > (room := teacher.model.config.max_position_embeddings):
        raise InputError(
            f"rollout.max_prompt_tokens + teacher.max_new_tokens is {longest}, and the teacher has {room} "
            "positions; lower one of them in params.yaml"
        )
    engine = build_engine(params, teacher)
    tokens, too_long = fitting(Chat(teacher.tokenizer), prompts, params, "experts", inputs.train)
    # A folder's path is this machine's business; its name and the weights' hash say what it is.
    name = Path(config.model).name if config.model and Path(config.model).is_dir() else config.model
    template = hashlib.sha256(str(teacher.tokenizer.chat_template).encode()).hexdigest()
    return Respondent(
        engine,
        {prompt: tokens[prompt.prompt_id] for prompt in prompts if prompt.prompt_id in tokens},
        too_long,
        at_once=params.rollout.slots,
        author=f"{name or 'warm-start'}@{config.revision or engine.policy}",
        chat_template=f"sha256:{template}",
        system_prompt=config.system_prompt,
    )


def _served(config: EndpointConfig, prompts: Sequence[Prompt], kept: Path) -> Respondent[str]:
    endpoint = Endpoint(config, kept.with_name(f"{kept.name}.jsonl"), "teacher.endpoint")
    return Respondent(
        endpoint,
        {prompt: prompt.problem for prompt in prompts},
        too_long=[],  # the server has the tokenizer, and says so itself
        at_once=WAVES * config.concurrency,
        author=endpoint.policy,
        chat_template="the server's",
        system_prompt=config.system_prompt,
    )


def _ask(
    who: Respondent[P], params: Params, config: TeacherConfig, inputs: Inputs, kept: Path, verifier: Verifier
) -> Asked:
    order = hardest_first(list(who.prompts), inputs.pass_rates)
    asking = Asking("teacher", config.samples, config.sampling, params.seed)
    made_of = origin(_used(params), who.sampler.policy, inputs.teacher, inputs.train, __file__)
    made_of["pass_rates"] = file_hash(inputs.pass_rates)  # they decide the order
    shards = Shards(kept, made_of, tables.TEACHING)

    def make(some: Sequence[Prompt]) -> list[Row]:
        given = answers(who.sampler, verifier, {prompt: who.prompts[prompt] for prompt in some}, asking)
        return [row for one in given for row in as_rows(one)]

    def parts() -> Iterator[Part]:
        left, spent = order, 0
        for number in count():
            room = affordable(config, len(order) - len(left), spent)
            size = min(max(1, who.at_once // config.samples), room)
            some, left = left[:size], left[size:]
            if not some:
                return
            yield Part(some, config.samples, partial(make, some))
            spent += sum(_cost(row, config) for row in shards.rows([number]))

    made = shards.follow(parts(), len(order), "teacher", lambda row: int(row["n_tokens"]))
    rows = list(shards.rows(made))
    if rows and all(row["no_response"] for row in rows):
        shards.discard()  # a server that is set right answers them
        raise EngineError(
            f"{who.author} answered none of {len(rows)} requests: {rows[0]['no_response']}. Correct "
            "`teacher` in params.yaml (max_new_tokens has to fit too) or the server, and run the stage again"
        )
    by_prompt = [list(some) for _, some in groupby(rows, lambda row: str(row["prompt_id"]))]
    return Asked(
        [from_rows(prompt, some) for prompt, some in zip(order, by_prompt, strict=False)],
        Teacher(
            name="teacher",
            author=who.author,
            license=config.license,
            sampling=config.sampling,
            seed=params.seed,
            chat_template=who.chat_template,
            system_prompt=who.system_prompt,
            keep=config.keep,
        ),
        who.too_long,
        unasked=len(order) - len(by_prompt),
        tokens=sum(row["n_tokens"] for row in rows),
        shards=shards,
    )


def affordable(config: TeacherConfig, asked: int, spent: int) -> int:
    """How many more prompts the budget pays for, however long their responses: it is never overdrawn.

    `asked` prompts and `spent` tokens are gone.
    """
    room = [sys.maxsize]
    if config.budget_samples is not None:
        room.append(config.budget_samples // config.samples - asked)
    if config.budget_tokens is not None:
        room.append((config.budget_tokens - spent) // (config.samples * config.max_new_tokens))
    return max(0, min(room))


def _cost(row: Row, config: TeacherConfig) -> int:
    """Tokens; all that it may have taken where the server did not say."""
    return int(row["n_tokens"]) or (0 if row["no_response"] else config.max_new_tokens)


def _used(params: Params) -> dict[str, Any]:
    """The parameters that decide what is in a shard."""
    return params.model_dump(
        mode="json",
        include={"seed": True, "threads": True, "rollout": True, "teacher": True, "verifier": {"timeout_s"}},
        # What is kept of the responses is decided afterwards.
        exclude={"teacher": {"endpoint": HOW, "keep": True}},
    )
