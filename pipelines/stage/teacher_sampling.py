"""Asking the teacher, a policy here or a served model: the hardest prompts first, up to a budget.

Killed at any moment it goes on: parts that were asked are shards (see pipelines/shards.py), and a server's
responses are in a response_log beside them, which stays: what was paid for once is never asked again.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any, TypeVar

from hpt_core import tables
from hpt_core.data.demonstrations.teacher import Teacher, as_rows, from_rows
from hpt_core.errors import EngineError
from hpt_core.fingerprint import file_hash
from hpt_core.policy.chat import Chat
from hpt_core.protocols import Verifier
from hpt_core.types import Prompt, Responses
from pipelines.params import Params
from pipelines.params.sections import TeacherConfig
from pipelines.stage import teacher_backends
from pipelines.stage.generation import SamplingRequest, sample_and_verify, tokenize_within_limit
from pipelines.stage.regrade import regrade, retry_timeout
from pipelines.stage.shards import Part, Row, Shards, run_inputs
from pipelines.stage.teacher_backends import TeacherBackend

log = logging.getLogger(__name__)
P = TypeVar("P")
HOW = {"url", "api_key_env", "requests_per_minute", "timeout_s", "retries"}
"""Of an endpoint: what decides no response."""


@dataclass(frozen=True)
class Inputs:
    train: Path = Path("data/prompts/train.parquet")
    pass_rates: Path = Path("data/rollouts/base/pass_rates.parquet")
    base: Path = Path("models/base")
    teacher: Path = Path("models/teacher_policy")


@dataclass(frozen=True)
class Asked:
    """What the teacher said, hardest prompt first."""

    responses: list[Responses]
    teacher: Teacher
    too_long: list[Row]
    """Quarantine rows of the prompts that are not asked, in their order."""
    unasked: int
    """Prompts that the budget did not reach."""
    tokens: int
    """All that were generated: what the budget is charged with."""
    shards: Shards
    """To be discarded once the outputs stand."""


def ask_teacher(
    params: Params, config: TeacherConfig, inputs: Inputs, chat: Chat, kept: Path, verifier: Verifier
) -> Asked:
    """Verified responses of the teacher; shards lie in `kept`, a server's response_log beside it.

    `chat` is the starting policy's: a prompt that is too long by it is in no arm, and is not asked. Raises
    EngineError where the teacher cannot be brought to answer, or answers none of the prompts, InputError
    where it cannot be asked.
    """
    prompts = tables.read_prompts(inputs.train)
    trainable, too_long = tokenize_within_limit(chat, prompts, params, "experts", inputs.train)
    if config.endpoint:
        server = teacher_backends.served(config.endpoint, prompts, kept.with_name(f"{kept.name}.jsonl"))
        return _ask(_only(server, trainable, too_long), params, config, inputs, kept, verifier)
    assert config.policy, "there is one of the two"
    policy = teacher_backends.local(
        params, config.policy, config.max_new_tokens, inputs.teacher, prompts, inputs.train
    )
    return _ask(_only(policy, trainable, too_long), params, config, inputs, kept, verifier)


def _only(who: TeacherBackend[P], trainable: Collection[str], too_long: Sequence[Row]) -> TeacherBackend[P]:
    """For the prompts that can be trained on; the others have no pass rate, and would come first."""
    by_line = {row["line"]: row for row in [*too_long, *who.too_long]}
    return replace(
        who,
        prompts={prompt: asked for prompt, asked in who.prompts.items() if prompt.prompt_id in trainable},
        too_long=[by_line[line] for line in sorted(by_line)],
    )


def hardest_first(prompts: Sequence[Prompt], pass_rates: Path) -> list[Prompt]:
    """The prompts in order of the starting policy's pass rate; one without counts as never solved."""
    rates = {row["prompt_id"]: row["pass_rate"] for row in tables.read(pass_rates, tables.PASS_RATES)}
    return sorted(prompts, key=lambda prompt: (rates.get(prompt.prompt_id, 0.0), prompt.prompt_id))


def _ask(
    who: TeacherBackend[P],
    params: Params,
    config: TeacherConfig,
    inputs: Inputs,
    kept: Path,
    verifier: Verifier,
) -> Asked:
    order = hardest_first(list(who.prompts), inputs.pass_rates)
    asking = SamplingRequest("teacher", config.samples, config.sampling, params.seed)
    decided_by = run_inputs(_used(params), who.sampler.policy, inputs.teacher, inputs.train, __file__)
    decided_by["asked"] = hashlib.sha256("".join(prompt.prompt_id for prompt in order).encode()).hexdigest()
    decided_by["teacher_backends"] = file_hash(Path(teacher_backends.__file__))
    shards = Shards(kept, decided_by, tables.TEACHING)

    def make(some: Sequence[Prompt]) -> list[Row]:
        given = sample_and_verify(
            who.sampler, verifier, {prompt: who.prompts[prompt] for prompt in some}, asking
        )
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
            spent += sum(row["n_tokens"] for row in shards.rows([number]))

    made = shards.follow(parts(), len(order), "teacher", lambda row: int(row["n_tokens"]))
    by_id = {prompt.prompt_id: prompt for prompt in order}
    if silent := regrade(params, shards, made, lambda row: by_id[row["prompt_id"]]):
        log.warning(
            "%d responses of the teacher have no verdict, not even with %g s for each (verifier_error in "
            "quarantine.parquet); raise verifier.timeout_s",
            len(silent),
            retry_timeout(params),
        )
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
    """How many more prompts the budget pays for, however long their responses.

    `asked` prompts and `spent` tokens are gone. No response overdraws it; what a host bills for attempts that
    failed or timed out, of which it says nothing, does not count.
    """
    room = [sys.maxsize]
    if config.budget_samples is not None:
        room.append(config.budget_samples // config.samples - asked)
    if config.budget_tokens is not None:
        room.append((config.budget_tokens - spent) // (config.samples * config.max_new_tokens))
    return max(0, min(room))


def _used(params: Params) -> dict[str, Any]:
    """The parameters that decide what is in a shard.

    The verifier's are not among them: what it gave no verdict on is judged again, with the time-out of then.
    """
    return params.model_dump(
        mode="json",
        include={"seed": True, "threads": True, "rollout": True, "teacher": True},
        # What is kept of the responses is decided afterwards.
        exclude={"teacher": {"endpoint": HOW, "keep": True}},
    )
