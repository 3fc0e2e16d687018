"""The prompts of a step and their rollouts; each rank samples its share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import torch

from hpt_core.config import Sampling
from hpt_core.errors import TrainingError
from hpt_core.groups import rewards_equal
from hpt_core.policy.chat import Chat
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.weights.adapters import adapter_weights
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.policy.weights.host_memory import return_freed
from hpt_core.policy.weights.merged import base_weights
from hpt_core.rollout.engine_check import EngineCheck
from hpt_core.rollout.group import Group, Task, reward, sample, score
from hpt_core.rollout.hint import hinted
from hpt_core.seeds import derive
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.sampler_mismatch import WeightVersions
from hpt_core.trainer.measures.throughput import Clock
from hpt_core.types import Completion
from hpt_core.upge import algorithm

log = logging.getLogger(__name__)
T = TypeVar("T")


def sample_groups(run: TrainContext, step: int, clock: Clock) -> list[Group]:
    """Judged rollouts for every prompt of the step; none for a method that trains on none.

    With `train.dynamic_sampling`, groups without a signal are followed by those of other prompts, round by
    round, until as many groups as the step has prompts have one (DAPO, arXiv 2503.14476, section 3.2). The
    other prompts are drawn by seed and step alone, so that a resumed run samples the same.
    """
    tasks = prompts_of(run, step)
    if algorithm(run.config.algorithm).rollouts is None:
        return [Group(task, []) for task in tasks]
    groups = _judged(run, tasks, step, clock)
    if run.config.dynamic_sampling is None:
        return groups
    others = replacements(run.tasks, tasks, derive(run.seed, "replacement", step))
    for _ in range(1, run.config.dynamic_sampling.rounds):
        missing = len(tasks) - sum(has_signal(group) for group in groups)
        drawn, others = others[:missing], others[missing:]
        if not drawn:
            break
        groups += _judged(run, drawn, step, clock)
    return groups


def has_signal(group: Group) -> bool:
    """Whether the verdicts of the rollouts differ; the penalty of long responses is none of them."""
    return group.decidable and not rewards_equal(group.rewards)


def replacements(tasks: Sequence[Task], sampled: Sequence[Task], seed: int) -> list[Task]:
    """All tasks but those of the prompts that were sampled, shuffled."""
    taken = {task.prompt.prompt_id for task in sampled}
    order = torch.randperm(len(tasks), generator=torch.Generator().manual_seed(seed)).tolist()
    return [tasks[i] for i in order if tasks[i].prompt.prompt_id not in taken]


def _judged(run: TrainContext, tasks: Sequence[Task], step: int, clock: Clock) -> list[Group]:
    mine = run.ranks.share(tasks)
    with clock.phase("generate"):
        completions = of_rank(run, tasks, lambda some: sample(run.engine, some, run.rollout, step, run.seed))
    with clock.phase("verify"):
        judged = score(mine, completions, run.verifier, step, run.engine.policy)
        rollouts = run.ranks.gather([group.rollouts for group in judged])
    return [Group(task, of_task) for task, of_task in zip(tasks, rollouts, strict=True)]


def of_rank(
    run: TrainContext, tasks: Sequence[Task], generate: Callable[[Sequence[Task]], list[T]]
) -> Sequence[T]:
    """What `generate` gives for this rank's share of the tasks.

    Ranks whose engines are one ask it together, for the shares of them all.
    """
    own, together = run.ranks.span(len(tasks)), run.ranks.span(len(tasks), run.ranks_per_engine)
    return generate(tasks[together])[own.start - together.start : own.stop - together.start]


class EngineWeights:
    """Loads the policy's weights into the engine, and checks the engine against the policy.

    The check is made with the first weights, which the first rollouts come from, and once more with the first
    weights after an update.
    """

    def __init__(self, run: TrainContext, policy_module: PolicyModule) -> None:
        self.run, self.base = run, ""
        self.versions = WeightVersions(max(run.config.max_staleness, run.rollout.lag))
        prompts = [task.tokens for task in run.tasks]
        self.check = EngineCheck(run.engine, policy_module, run.policy.model, prompts, run.rollout)

    def push(self) -> None:
        """Load the weights and their hash. All ranks take part.

        Raises TrainingError, on every rank, if the engine then samples another policy.
        """
        weights = self._load()
        fresh, name = weights.name not in self.versions.names, weights.name
        self.versions.add(name)
        # An engine that lags by as many steps as train.max_staleness allows has older weights.
        if fresh and self.check.made < 2 and self.run.engine.policy == name:
            return_freed()  # What was gathered for the engine; the check needs memory, too.
            faults = [fault for fault in self.run.ranks.gather([self.check.fault()]) if fault]
            if faults:
                raise TrainingError(faults[0])

    def _load(self) -> HashedWeights:
        model, engine = self.run.policy.model, self.run.engine
        if not self.run.serves_adapters:
            weights = HashedWeights(model)
            engine.load_weights(weights)
            return weights
        if not self.base:
            base = HashedWeights(model, base_weights)
            engine.load_weights(base)
            self.base = base.name
        adapters = HashedWeights(model, adapter_weights, self.base)
        engine.load_weights(adapters)
        return adapters


def prompts_of(run: TrainContext, step: int) -> list[Task]:
    """The tasks of the step, with hints if the method uses them."""
    tasks = tasks_of_step(run.tasks, step, run.config.prompts_per_step, run.seed)
    if "hint" not in algorithm(run.config.algorithm).needs:
        return tasks
    return hinted(tasks, run.config.hint, step - run.begun, run.seed, Chat(run.policy.tokenizer).text)


def tasks_of_step(tasks: Sequence[Task], step: int, count: int, seed: int) -> list[Task]:
    """The next `count` prompts at a step (from 1) of a seeded shuffle per epoch."""
    chosen = []
    for position in range((step - 1) * count, step * count):
        epoch, offset = divmod(position, len(tasks))
        task = tasks[_shuffle(len(tasks), derive(seed, "epoch", epoch))[offset]]
        chosen.append(task.in_turn(epoch))
    # A prompt may come twice in a step where an epoch ends; one group of it is enough.
    return list({task.prompt.prompt_id: task for task in chosen}.values())


def greedy_accuracy(run: TrainContext) -> dict[str, float]:
    """dev/accuracy: share of the dev prompts that greedy decoding solves; dev/unjudged: prompts without a
    verdict.

    A response over the verifier's limits is not solved. A prompt on which the verifier failed for another
    reason is left out of the share, which is omitted where no prompt is left; so is a count of 0.
    """
    greedy = Sampling(temperature=0.0, max_new_tokens=run.rollout.max_new_tokens)
    mine = run.ranks.share(run.dev)

    def generate(tasks: Sequence[Task]) -> list[Completion]:
        return run.engine.generate([task.tokens for task in tasks], [0] * len(tasks), greedy)

    completions = of_rank(run, run.dev, generate)
    verdicts = run.verifier.verify(
        [
            (completion.response, task.prompt.answer, task.prompt.answer_kind)
            for task, completion in zip(mine, completions, strict=True)
        ]
    )
    for task, verdict in zip(mine, verdicts, strict=True):
        if verdict.error is not None:
            log.warning("dev prompt %s: no verdict: %s", task.prompt.prompt_id, verdict.error)
    # Credit in part does not solve a prompt.
    solved = run.ranks.gather([None if reward(verdict) is None else verdict.correct for verdict in verdicts])
    unjudged = sum(run.ranks.gather([verdict.error is not None for verdict in verdicts]))
    judged = [value for value in solved if value is not None]
    accuracy = {"dev/accuracy": sum(judged) / len(judged)} if judged else {}
    return accuracy | ({"dev/unjudged": float(unjudged)} if unjudged else {})


@lru_cache(maxsize=4)
def _shuffle(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
