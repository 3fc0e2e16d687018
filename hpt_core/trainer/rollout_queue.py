"""Rollouts that are drawn before the step that trains on them (`rollout.lag`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from hpt_core.rollout.group import Group, Task, rollout_row
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.throughput import Clock
from hpt_core.trainer.sampling import prompts_of, sample_groups
from hpt_core.types import Completion, Rollout


class RolloutQueue:
    """The judged groups of the next steps.

    With a lag of k, the weights after step t-1-k draw the rollouts of step t; in the first k+1 steps of a
    phase, those that the phase begins with. So the parameters alone decide which weights draw which rollouts,
    and no race between sampler and trainer does.
    """

    def __init__(self, lag: int) -> None:
        self.lag = lag
        self.waiting: dict[int, list[Group]] = {}
        """Step that will train on them -> its groups, in the order of steps."""
        self.drawn = 0
        """Number of tokens that the last `take` sampled."""

    def take(self, run: TrainContext, step: int, last: int, clock: Clock) -> list[Group]:
        """The groups of `step`, once the weights in force have drawn those up to `lag` steps later.

        last: the last step that the phase can have.
        """
        first, self.drawn = max(self.waiting, default=step - 1) + 1, 0
        for later in range(first, min(step + self.lag, last) + 1):
            self.waiting[later] = sample_groups(run, later, clock)
            self.drawn += sum(r.completion.n_tokens for g in self.waiting[later] for r in g.rollouts)
        return self.waiting.pop(step)

    def clear(self) -> None:
        """Drop what a phase that has ended drew for steps that it no longer has."""
        self.waiting.clear()

    def rows(self) -> list[dict[str, Any]]:
        """Rows of `tables.WAITING_ROLLOUTS`."""
        return [
            rollout_row(rollout) | {"over_limit": rollout.over_limit}
            for groups in self.waiting.values()
            for group in groups
            for rollout in group.rollouts
        ]

    def restore(self, rows: Iterable[Mapping[str, Any]], run: TrainContext) -> None:
        """Put back what `rows` gave, in a run that is at the same step."""
        for step, of_step in groupby(rows, key=lambda row: row["step"]):
            self.waiting[step] = list(_groups(of_step, _tasks(run, step)))


def _tasks(run: TrainContext, step: int) -> dict[str, Task]:
    """Prompt -> its task at `step`. Dynamic sampling draws others than those of the step, without hints."""
    return {task.prompt.prompt_id: task for task in (*run.tasks, *prompts_of(run, step))}


def _groups(rows: Iterable[Mapping[str, Any]], tasks: Mapping[str, Task]) -> Iterator[Group]:
    for prompt_id, of_prompt in groupby(rows, key=lambda row: row["prompt_id"]):
        yield Group(tasks[prompt_id], [_rollout(row) for row in of_prompt])


def _rollout(row: Mapping[str, Any]) -> Rollout:
    completion = Completion(
        row["response"], tuple(row["token_ids"]), tuple(row["logprobs"]), row["finish_reason"]
    )
    return Rollout(
        row["prompt_id"],
        row["sample"],
        row["step"],
        completion,
        row["reward"],
        row["policy"],
        row["over_limit"],
    )
