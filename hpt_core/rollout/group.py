"""A prompt at one step: its rollouts with their rewards, and its demonstration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpt_core.config import RolloutConfig
from hpt_core.groups import pass_rate
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.seeds import derive
from hpt_core.types import Completion, Prompt, Rollout, Trajectory, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A training prompt as the trainer holds it."""

    prompt: Prompt
    tokens: list[int]
    """The prompt in the policy's chat template."""
    expert: Trajectory | None
    demonstration: list[int]
    """Tokens of the expert's response, end-of-turn included; empty without an expert. With a hint, the tokens
    of the hint alone."""
    hint: int = 0
    """Number of tokens at the end of `tokens` that begin the expert's response (UFT)."""
    opening: str = ""
    """The hint as text."""
    others: tuple[tuple[Trajectory, list[int]], ...] = ()
    """Further experts of the prompt with the tokens of their responses. A visit of the prompt has one."""
    decode: Callable[[Sequence[int]], str] | None = field(default=None, compare=False, repr=False)
    """Text of a response's tokens; with a hint, the verifier reads hint and response in one text."""

    def in_turn(self, visit: int) -> Task:
        """The task with the demonstration of this visit of the prompt, counted from 0."""
        turn = visit % (1 + len(self.others))
        if turn == 0:
            return self
        expert, demonstration = self.others[turn - 1]
        return replace(self, expert=expert, demonstration=demonstration)

    @property
    def question(self) -> list[int]:
        """`tokens` without the hint."""
        return self.tokens[: len(self.tokens) - self.hint]

    def judged(self, completion: Completion) -> str:
        """The text that the verifier reads: the hint and what was sampled after it.

        Hint and response are decoded together, because SentencePiece drops the space at the start of a text,
        and a character may be divided between the two.
        """
        if self.decode is None or not self.hint:
            return self.opening + completion.response
        return self.decode([*self.tokens[len(self.question) :], *completion.token_ids])


@dataclass(frozen=True)
class Group:
    """A prompt with the rollouts of one step."""

    task: Task
    rollouts: list[Rollout]

    @cached_property
    def rewards(self) -> list[float]:
        """Rewards of the rollouts that have a verdict."""
        return [rollout.reward for rollout in self.rollouts if rollout.reward is not None]

    @property
    def decidable(self) -> bool:
        """Whether the group has the two verdicts that a pass rate and a baseline need.

        A prompt without them takes no part in the step. A method that samples nothing needs none.
        """
        return len(self.rewards) >= 2 or not self.rollouts

    @cached_property
    def pass_rate(self) -> float:
        """P of the paper: the mean of `rewards`."""
        return pass_rate(self.rewards)


def sample(
    engine: RolloutEngine, tasks: Sequence[Task], config: RolloutConfig, step: int, seed: int
) -> list[list[Completion]]:
    """`group_size` completions of every task, each from a seed of its own."""
    n = config.group_size
    prompts = [task.tokens for task in tasks for _ in range(n)]
    seeds = [derive(seed, "rollout", step, task.prompt.prompt_id, i) for task in tasks for i in range(n)]
    completions = engine.generate(prompts, seeds, config.sampling)
    return [completions[i * n : (i + 1) * n] for i in range(len(tasks))]


def score(
    tasks: Sequence[Task],
    sampled: Sequence[Sequence[Completion]],
    verifier: Verifier,
    step: int,
    policy: str,
) -> list[Group]:
    """Verify every completion; the reward of each is that of `reward`."""
    verdicts = iter(
        verifier.verify(
            [
                (task.judged(completion), task.prompt.answer, task.prompt.answer_kind)
                for task, completions in zip(tasks, sampled, strict=True)
                for completion in completions
            ]
        )
    )
    groups = []
    for task, completions in zip(tasks, sampled, strict=True):
        name, rollouts = task.prompt.prompt_id, []
        for i, completion in enumerate(completions):
            verdict = next(verdicts)
            if verdict.error is not None:
                log.warning("%s, rollout %d of step %d: no verdict: %s", name, i, step, verdict.error)
            rollouts.append(Rollout(name, i, step, completion, reward(verdict), policy, verdict.over_limit))
        groups.append(Group(task, rollouts))
    return groups


def reward(verdict: Verdict) -> float | None:
    """1 or 0, or the score of a kind that gives credit in part. 0 as well for a response over the verifier's
    limits, and None where the verifier failed.

    Without a reward a rollout is left out of P and of the update, so that a policy would escape a negative
    advantage with responses that take the verifier for ever.
    """
    if verdict.error is None:
        return float(verdict.correct) if verdict.score is None else verdict.score
    return 0.0 if verdict.over_limit else None


def rollout_row(rollout: Rollout) -> dict[str, Any]:
    """The rollout as a row of `tables.ROLLOUTS`."""
    return {
        "prompt_id": rollout.prompt_id,
        "sample": rollout.sample,
        "step": rollout.step,
        "response": rollout.completion.response,
        "token_ids": list(rollout.completion.token_ids),
        "logprobs": list(rollout.completion.logprobs),
        "reward": rollout.reward,
        "finish_reason": rollout.completion.finish_reason,
        "policy": rollout.policy,
    }
