"""The prompts that an arm trains on, with their experts, and the dev prompts that measure it meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.formula import at_least
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.sizes import check_positions
from hpt_core.rollout.group import Task
from hpt_core.tables import QuarantineRow
from hpt_core.types import Prompt
from hpt_core.upge import algorithm
from pipelines import paths
from pipelines.params import Params
from pipelines.stage.generation import tokenize_within_limit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingFiles:
    """Inputs and outputs of `train` under one root."""

    root: Path = Path()

    @property
    def train(self) -> Path:
        return self.root / paths.TRAIN_PROMPTS

    @property
    def dev(self) -> Path:
        return self.root / paths.DEV_PROMPTS

    def demonstrations(self, arm: str) -> Path:
        return self.root / paths.demonstrations(arm)

    @property
    def pass_rates(self) -> Path:
        return self.root / paths.PASS_RATES

    @property
    def base(self) -> Path:
        return self.root / paths.BASE_MODEL

    def checkpoints(self, arm: str) -> Path:
        return self.root / paths.checkpoints(arm)


PROJECT = TrainingFiles()
"""The project is the current folder."""


def load_tasks(
    params: Params, arm: str, policy: LoadedPolicy, files: TrainingFiles
) -> tuple[list[Task], list[Task], list[QuarantineRow]]:
    """Training prompts with the experts of `arm`, dev prompts, and quarantine rows of the other prompts.

    Raises InputError where there is nothing to train on: no prompt, or no prompt with an expert to imitate.
    """
    chat, prompts, dev = (
        Chat(policy.tokenizer),
        tables.read_prompts(files.train),
        tables.read_prompts(files.dev),
    )
    experts = tables.read_demonstrations(files.demonstrations(arm))
    tokens, too_long = tokenize_within_limit(chat, prompts, params, "train", files.train)
    dev_tokens, dev_too_long = tokenize_within_limit(chat, dev, params, "train", files.dev)
    selected, out_of_window = in_window(prompts, params.train.difficulty, files.pass_rates)

    def task(prompt: Prompt) -> Task:
        own = [(expert, chat.response(expert.response)) for expert in experts.get(prompt.prompt_id, ())]
        expert, demonstration = own[0] if own else (None, [])
        return Task(prompt, tokens[prompt.prompt_id], expert, demonstration, others=tuple(own[1:]))

    tasks = [task(prompt) for prompt in selected if prompt.prompt_id in tokens]
    if not tasks:
        raise InputError(
            f"train: none of {len(prompts)} prompts is within train.difficulty {params.train.difficulty}; "
            f"widen it in params.yaml ({files.pass_rates} has the pass rates)"
        )
    with_expert, read = sum(t.expert is not None for t in tasks), sum(map(len, experts.values()))
    if not with_expert and params.train.uses_demonstrations:
        raise InputError(
            f"train: none of the {len(tasks)} prompts that arm {arm} trains on has an expert: its "
            f"{read} demonstrations are of prompts outside of train.difficulty or over "
            "rollout.max_prompt_tokens; change one of them in params.yaml"
        )
    log.info(
        "%s: %d prompts, %d with an expert, %d left to RL alone",
        arm,
        len(tasks),
        with_expert,
        len(tasks) - with_expert,
    )
    dev_tasks = [Task(p, dev_tokens[p.prompt_id], None, []) for p in dev if p.prompt_id in dev_tokens]
    return tasks, dev_tasks, [*too_long, *dev_too_long, *out_of_window]


def in_window(
    prompts: Sequence[Prompt], window: Sequence[float] | None, pass_rates: Path
) -> tuple[list[Prompt], list[QuarantineRow]]:
    """The prompts whose pass rate under the starting policy is in the window [low, high]; without one, all.

    Returns a quarantine row for each other prompt as well.
    """
    if window is None:
        return list(prompts), []
    (low, high), kept, left_out = window, list[Prompt](), list[QuarantineRow]()
    rates = tables.read_pass_rates(pass_rates)
    for prompt in prompts:
        rate = rates.get(prompt.prompt_id)
        if rate is not None and at_least(rate, low) and at_least(high, rate):
            kept.append(prompt)
            continue
        reason = "no_pass_rate" if rate is None else "too_hard" if rate < low else "too_easy"
        detail = f"pass rate {rate}; train.difficulty is [{low}, {high}]"
        left_out.append(tables.quarantined("train", prompt.source, reason, detail, row=prompt.problem))
    log.info("%d of %d prompts are within train.difficulty", len(kept), len(prompts))
    return kept, left_out


def check_room(tasks: Sequence[Task], params: Params, policy: LoadedPolicy) -> None:
    """Raise InputError where a demonstration, or a rollout after a hint, exceeds the model's positions."""
    hinted = any("hint" in algorithm(phase.algorithm).needs for phase in params.train.per_phase)
    after = params.rollout.max_new_tokens if hinted else 0
    longest = max(
        len(task.tokens) + len(demonstration) + after
        for task in tasks
        for demonstration in [task.demonstration, *(tokens for _, tokens in task.others)]
    )
    check_positions(
        policy.model,
        longest,
        f"train: a prompt with its demonstration{' as a hint and a rollout' if hinted else ''} has "
        f"{longest} tokens",
        "lower experts.max_tokens in params.yaml",
    )
