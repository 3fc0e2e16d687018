"""The prompts that an arm trains on, with their experts, and the dev prompts that measure it meanwhile."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpt_core import tables
from hpt_core.data.demonstrations.selection import choose
from hpt_core.errors import InputError
from hpt_core.formula import at_least
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.sizes import check_positions
from hpt_core.rollout.group import Task
from hpt_core.tables import QuarantineRow
from hpt_core.types import Prompt, Trajectory
from hpt_core.upge import algorithm
from pipelines.params import Params
from pipelines.paths import BASE_MODEL, DEV_PROMPTS, EXPERTS, PASS_RATES, TRAIN_PROMPTS, checkpoints
from pipelines.stage.generation import tokenize_within_limit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingFiles:
    """Inputs and outputs of `train` under one root."""

    root: Path = Path()

    @property
    def inputs(self) -> tuple[Path, Path, Path]:
        """Training prompts, dev prompts, expert trajectories."""
        return self.root / TRAIN_PROMPTS, self.root / DEV_PROMPTS, self.root / EXPERTS

    @property
    def pass_rates(self) -> Path:
        return self.root / PASS_RATES

    @property
    def base(self) -> Path:
        return self.root / BASE_MODEL

    def checkpoints(self, arm: str) -> Path:
        return self.root / checkpoints(arm)


PROJECT = TrainingFiles()
"""The project is the current folder."""


def load_tasks(
    params: Params, arm: str, policy: LoadedPolicy, paths: TrainingFiles
) -> tuple[list[Task], list[Task], list[QuarantineRow]]:
    """Training prompts with the experts of `arm`, dev prompts, and quarantine rows of the other prompts."""
    train_path, dev_path, experts_path = paths.inputs
    chat, prompts, dev = (
        Chat(policy.tokenizer),
        tables.read_prompts(train_path),
        tables.read_prompts(dev_path),
    )
    by_prompt: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in tables.read_experts(experts_path):
        by_prompt[trajectory.prompt_id].append(trajectory)
    tokens, too_long = tokenize_within_limit(chat, prompts, params, "train", train_path)
    dev_tokens, dev_too_long = tokenize_within_limit(chat, dev, params, "train", dev_path)
    selected, out_of_window = in_window(prompts, params.train.difficulty, paths.pass_rates)

    def task(prompt: Prompt) -> Task:
        trajectories = by_prompt.get(prompt.prompt_id, [])
        expert = choose(trajectories, params.arms[arm].mix, params.seed, params.arms[arm].choose)
        demonstration = chat.response(expert.response) if expert else []
        return Task(prompt, tokens[prompt.prompt_id], expert, demonstration)

    tasks = [task(prompt) for prompt in selected if prompt.prompt_id in tokens]
    if not tasks:
        raise InputError(
            f"train: none of {len(prompts)} prompts is within train.difficulty {params.train.difficulty}; "
            f"widen it in params.yaml ({paths.pass_rates} has the pass rates)"
        )
    with_expert = sum(t.expert is not None for t in tasks)
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
    longest = max(len(task.tokens) + len(task.demonstration) + after for task in tasks)
    check_positions(
        policy.model,
        longest,
        f"train: a prompt with its demonstration{' as a hint and a rollout' if hinted else ''} has "
        f"{longest} tokens",
        "lower experts.max_tokens in params.yaml",
    )
