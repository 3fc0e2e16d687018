"""Steps of a run as tasks of Prefect, and the states in which it shows what they came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from pipelines.orchestration.prefect_record import Ended
from pipelines.orchestration.steps import Log, Outcome, Step

STATES = {
    "done": Ended("COMPLETED", "Completed"),
    "restored": Ended("COMPLETED", "Restored"),
    "unchanged": Ended("COMPLETED", "Unchanged"),
    "completed": Ended("COMPLETED", "Completed"),
    "failed": Ended("FAILED", "Failed"),
    "not run": Ended("FAILED", "NotRun"),
    "stopped": Ended("CANCELLED", "Cancelled"),
}
"""Verdict of a step or of a run -> its state in Prefect."""


def ended(outcome: Outcome) -> Ended:
    return replace(STATES[outcome.verdict], message=outcome.message)


class PrefectTasks:
    """Runs each step as a task of the flow, so that Prefect shows it."""

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def submit(
        self, step: Step, body: Callable[[Log], Outcome], upstream: Sequence[Any]
    ) -> PrefectFuture[Any]:
        def run() -> State[Any]:
            return ended(body(get_run_logger().info)).state()

        described = task(
            name=step.name,
            task_run_name=step.name,
            description=step.desc,
            retries=self._retries,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(run)
        return described.submit(wait_for=list(upstream), return_state=False)
