"""Responses of the teacher, a local policy or a served model: the hardest prompts first, within a budget.

An interrupted run resumes: finished parts are shards (see pipelines/stage/shards.py). A server's responses
are in a log beside the shards, which is never removed, so that no response is paid for twice.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any, TypeVar

from hpt_core import tables
from hpt_core.config import TeacherConfig
from hpt_core.data.demonstrations.program_solutions import program_solution
from hpt_core.data.demonstrations.teacher_rows import as_rows, from_rows
from hpt_core.errors import EngineError
from hpt_core.fingerprint import file_hash
from hpt_core.policy.chat import Chat
from hpt_core.protocols import Verifier
from hpt_core.tables import QuarantineRow
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.paths import BASE_MODEL, PASS_RATES, TEACHER_MODEL, TRAIN_PROMPTS
from pipelines.stage.generation import (
    SamplingRequest,
    sample_and_verify,
    tokenize_within_limit,
)
from pipelines.stage.regrade import regrade, retry_timeout
from pipelines.stage.shards import Part, ShardRow, Shards, run_inputs
from pipelines.stage.teacher import backends
from pipelines.stage.teacher.backends import TeacherBackend
from pipelines.stage.teacher.files import Authorship, TeacherSamples

log = logging.getLogger(__name__)
P = TypeVar("P")
TRANSPORT_KEYS = {
    "url",
    "api_key_env",
    "headers",
    "headers_env",
    "query",
    "stream",
    "requests_per_minute",
    "timeout_s",
    "retries",
}
"""Keys of teacher.endpoint on which no response depends."""


@dataclass(frozen=True)
class TeacherInputs:
    """The files and folders that the stage `teacher_responses` reads."""

    train: Path = TRAIN_PROMPTS
    pass_rates: Path = PASS_RATES
    base: Path = BASE_MODEL
    teacher: Path = TEACHER_MODEL


def sample_teacher(
    params: Params, config: TeacherConfig, inputs: TeacherInputs, chat: Chat, shards: Path, verifier: Verifier
) -> tuple[TeacherSamples, Shards]:
    """Sample and verify responses, which stay in the returned shards until the caller discards them.

    A server's responses are logged in a file beside the folder `shards`.

    `chat` is that of the starting policy. A prompt that is too long for it is in no arm, and is not sampled.

    Raises EngineError where the teacher fails or answers no prompt, InputError where it cannot be used.
    """
    prompts = tables.read_prompts(inputs.train)
    tokens, too_long = tokenize_within_limit(chat, prompts, params, "experts", inputs.train)
    texts = {prompt: text for prompt in prompts if (text := _text(prompt, config)) is not None}
    trainable = [prompt for prompt in texts if prompt.prompt_id in tokens]
    # All prompts, so that their numbers are the lines of the file.
    asked = [replace(prompt, problem=texts.get(prompt, prompt.problem)) for prompt in prompts]
    if config.endpoint:
        response_log = shards.with_name(f"{shards.name}.jsonl")
        server = backends.served(config.endpoint, asked, response_log)
        return _sample(_restricted(server, trainable, too_long), params, config, inputs, shards, verifier)
    assert config.policy, "a teacher is a policy or an endpoint"
    length = config.max_new_tokens
    with backends.local(params, config.policy, length, inputs.teacher, asked, inputs.train) as policy:
        return _sample(_restricted(policy, trainable, too_long), params, config, inputs, shards, verifier)


def _text(prompt: Prompt, config: TeacherConfig) -> str | None:
    """What the teacher is asked; None where there is no solution for it to rewrite."""
    if config.rewrite is None:
        return prompt.problem
    solution = program_solution(prompt)
    if solution is None:
        return None
    parts = re.split(r"(\{problem\}|\{solution\})", config.rewrite)
    filled = {"{problem}": prompt.problem, "{solution}": solution}
    return "".join(filled.get(part, part) for part in parts)


def _restricted(
    backend: TeacherBackend[P], trainable: Collection[Prompt], too_long: Sequence[QuarantineRow]
) -> TeacherBackend[P]:
    """The backend with the trainable prompts only, as themselves whatever text the teacher gets for them.

    The others have no pass rate and would come first.
    """
    by_line = {row["line"]: row for row in [*too_long, *backend.too_long]}
    forms = {prompt.prompt_id: form for prompt, form in backend.prompts.items()}
    return replace(
        backend,
        prompts={prompt: forms[prompt.prompt_id] for prompt in trainable if prompt.prompt_id in forms},
        too_long=[by_line[line] for line in sorted(by_line)],
    )


def hardest_first(prompts: Sequence[Prompt], pass_rates: Path) -> list[Prompt]:
    """The prompts in order of the starting policy's pass rate; one without a pass rate counts as unsolved."""
    rates = tables.read_pass_rates(pass_rates)
    return sorted(prompts, key=lambda prompt: (rates.get(prompt.prompt_id, 0.0), prompt.prompt_id))


def _sample(
    backend: TeacherBackend[P],
    params: Params,
    config: TeacherConfig,
    inputs: TeacherInputs,
    folder: Path,
    verifier: Verifier,
) -> tuple[TeacherSamples, Shards]:
    order = hardest_first(list(backend.prompts), inputs.pass_rates)
    shards = Shards(folder, _run_inputs(params, backend, inputs, order), tables.TEACHER_RESPONSES)
    parts = _parts(backend, config, params.seed, order, shards, verifier)
    numbers = shards.finish_in_turn(parts, len(order), "teacher", lambda row: int(row["n_tokens"]))
    _regrade(params, shards, numbers, order)
    rows = list(shards.rows(numbers))
    if rows and all(row["no_response"] for row in rows):
        shards.discard()  # They would be resumed from after the server is corrected.
        raise EngineError(
            f"{backend.author} answered none of {len(rows)} requests: {rows[0]['no_response']}. Correct "
            "`teacher` in params.yaml (max_new_tokens has to fit too) or the server, and run the stage again"
        )
    _report_refusals(backend.author, rows)
    by_prompt = [list(group) for _, group in groupby(rows, lambda row: str(row["prompt_id"]))]
    samples = TeacherSamples(
        [from_rows(prompt, group) for prompt, group in zip(order, by_prompt, strict=False)],
        Authorship(
            author=backend.author,
            chat_template=backend.chat_template,
            system_prompt=backend.system_prompt,
            not_sent=sorted(backend.not_sent),
            more_parameters=dict(backend.more_parameters),
        ),
        backend.too_long,
        unasked=len(order) - len(by_prompt),
    )
    return samples, shards


def _report_refusals(author: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if refused := [row["no_response"] for row in rows if row["no_response"]]:
        [(reason, times)] = Counter(refused).most_common(1)
        message = (
            "%s gave no response to %d of %d requests (no_response in quarantine.parquet), to %d of them: %s"
        )
        log.warning(message, author, len(refused), len(rows), times, reason)


def _parts(
    backend: TeacherBackend[P],
    config: TeacherConfig,
    seed: int,
    order: Sequence[Prompt],
    shards: Shards,
    verifier: Verifier,
) -> Iterator[Part]:
    """Parts of prompts in this order, each within the budget that the responses so far have left."""
    request = SamplingRequest("teacher", config.samples, config.sampling, seed)

    def make(prompts: Sequence[Prompt]) -> list[ShardRow]:
        forms = {prompt: backend.prompts[prompt] for prompt in prompts}
        sampled = sample_and_verify(backend.sampler, verifier, forms, request)
        return [row for responses in sampled for row in as_rows(responses)]

    first, spent = 0, 0
    for number in count():
        size = max(1, backend.responses_per_part // config.samples)
        prompts = order[first : first + min(size, affordable(config, first, spent))]
        if not prompts:
            return
        yield Part(prompts, config.samples, partial(make, prompts))
        first += len(prompts)
        spent += sum(row["n_tokens"] for row in shards.rows([number]))


def affordable(config: TeacherConfig, sampled: int, spent: int) -> int:
    """The number of further prompts that the budget covers, however long their responses are.

    `sampled` prompts and `spent` tokens are used up. No response exceeds the budget. Attempts that failed or
    timed out are not counted, because a host may bill them without reporting their tokens.
    """
    limits = [sys.maxsize]
    if config.budget_samples is not None:
        limits.append(config.budget_samples // config.samples - sampled)
    if config.budget_tokens is not None:
        limits.append((config.budget_tokens - spent) // (config.samples * config.max_new_tokens))
    return max(0, min(limits))


def _regrade(params: Params, shards: Shards, numbers: range, prompts: Sequence[Prompt]) -> None:
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    if unjudged := regrade(params, shards, numbers, lambda row: by_id[row["prompt_id"]]):
        log.warning(
            "%d responses of the teacher have no verdict, not even with %g s for each (verifier_error in "
            "quarantine.parquet); raise verifier.timeout_s",
            len(unjudged),
            retry_timeout(params),
        )


def _run_inputs(
    params: Params, backend: TeacherBackend[P], inputs: TeacherInputs, order: Sequence[Prompt]
) -> dict[str, Any]:
    """All that decides the rows of the shards, by name.

    The verifier's parameters are not among them: a response without a verdict is graded again, with the time
    limit of the present run.
    """
    parameters = params.model_dump(
        mode="json",
        include={"seed": True, "threads": True, "rollout": True, "teacher": True},
        # `keep` selects among the responses after they are sampled.
        exclude={"teacher": {"endpoint": TRANSPORT_KEYS, "keep": True}},
    )
    kinds = {prompt.answer_kind for prompt in order}
    return {
        **run_inputs(parameters, backend.sampler.policy, inputs.teacher, inputs.train, __file__, kinds),
        "order": hashlib.sha256("".join(prompt.prompt_id for prompt in order).encode()).hexdigest(),
        "backends": file_hash(Path(backends.__file__)),
    }
