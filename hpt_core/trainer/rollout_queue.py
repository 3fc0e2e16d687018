"""Rollouts that are drawn before the step that trains on them (`rollout.lag`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from types import TracebackType
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

    An engine that samples in processes of its own draws in a thread, between `take` and `finish`. Its weights
    may be replaced after `finish` alone.
    """

    def __init__(self, lag: int, *, background: bool = False) -> None:
        self.lag = lag
        self.waiting: dict[int, list[Group]] = {}
        """Step that will train on them -> its groups, in the order of steps."""
        self.thread = ThreadPoolExecutor(1, "rollouts") if background else None
        self.begun: dict[int, Future[tuple[list[Group], Clock]]] = {}
        """Step -> its groups that the thread draws, and the time that it takes."""
        self.drawn = 0
        """Number of tokens that were sampled between the last `take` and its `finish`."""

    def __enter__(self) -> RolloutQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread is not None:
            # What is drawn for later steps has no use after an error, and may take long.
            self.thread.shutdown(wait=error is None, cancel_futures=True)

    def take(self, run: TrainContext, step: int, last: int, clock: Clock) -> list[Group]:
        """The groups of `step`, once the weights in force draw, or have drawn, those up to `lag` steps later.

        last: the last step that the phase can have.
        """
        first, self.drawn = max(self.waiting, default=step - 1) + 1, 0
        for later in range(first, min(step + self.lag, last) + 1):
            if self.thread is None:
                self._keep(later, sample_groups(run, later, clock))
            else:
                self.begun[later] = self.thread.submit(_draw, run, later)
        if step in self.begun:
            self._finish(step, clock)
        return self.waiting.pop(step)

    def finish(self, clock: Clock) -> None:
        """Wait for the thread, so that the engine is idle and every step that was begun is in `waiting`."""
        for step in list(self.begun):
            self._finish(step, clock)

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

    def _finish(self, step: int, clock: Clock) -> None:
        with clock.phase("wait"):
            groups, spent = self.begun.pop(step).result()
        clock.add(spent)
        self._keep(step, groups)

    def _keep(self, step: int, groups: list[Group]) -> None:
        self.waiting[step] = groups
        self.drawn += sum(r.completion.n_tokens for group in groups for r in group.rollouts)


def _draw(run: TrainContext, step: int) -> tuple[list[Group], Clock]:
    """Draw in a thread, while the ranks exchange gradients in another."""
    clock = Clock()
    return sample_groups(replace(run, ranks=run.ranks.apart("sampling")), step, clock), clock


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
