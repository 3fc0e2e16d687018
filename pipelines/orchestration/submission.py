"""The order in which steps are submitted: each after those upstream of it, with a limit on how many run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from pipelines.orchestration.steps import Executor, Log, Outcome, Pending, Step
from pipelines.orchestration.views import View, read_count

logger = logging.getLogger(__name__)


def run_steps(
    steps: Sequence[Step],
    executor: Executor,
    workers: int,
    outcomes: dict[str, Outcome],
    views: Sequence[View] = (),
) -> None:
    """Submit each step once every step upstream of it has ended, at most `workers` at a time.

    What each came to goes into `outcomes`, by name. A step below a failed one is submitted too, so that
    Prefect shows it as not ready, and is never run. A step that the executor has ended without running it is
    run here: what is done must not depend on who reports it. `views` are told of those that run.
    """
    pending: dict[str, Pending] = {}
    ended: set[str] = set()
    events: SimpleQueue[Step] = SimpleQueue()
    waiting = list(steps)
    while len(ended) < len(steps):
        for step in [step for step in waiting if ended.issuperset(step.upstream)]:
            if len(pending) - len(ended) >= workers:
                break
            waiting.remove(step)
            upstream = [pending[name] for name in step.upstream]
            pending[step.name] = executor.submit(step, partial(_body, step, outcomes, views), upstream)
            pending[step.name].add_done_callback(partial(_announce, events, step))
        step = events.get()
        if step.name not in outcomes:
            _body(step, outcomes, views, logger.info)
        ended.add(step.name)


def _body(step: Step, outcomes: dict[str, Outcome], views: Sequence[View], log: Log) -> Outcome:
    """Run a step, unless one upstream of it has not done its part."""
    lacking = [name for name in step.upstream if name not in outcomes or not outcomes[name].good]
    outcomes[step.name] = (
        Outcome("not run", f"{step.name} needs {', '.join(lacking)}") if lacking else _shown(step, views, log)
    )
    return outcomes[step.name]


def _shown(step: Step, views: Sequence[View], log: Log) -> Outcome:
    """Run a step and tell `views` of it."""

    def tell(message: str, *arguments: object) -> None:
        log(message, *arguments)
        if count := read_count(message % arguments if arguments else message):
            _show(views, lambda view: view.counted(step.name, count))

    _show(views, lambda view: view.began(step.name))
    try:
        return step.run(tell)
    finally:
        _show(views, lambda view: view.ended(step.name))


def _show(views: Sequence[View], what: Callable[[View], None]) -> None:
    """No failure of what shows a step is a failure of the step."""
    for view in views:
        try:
            what(view)
        except Exception:
            logger.debug("a step cannot be shown", exc_info=True)


def _announce(events: SimpleQueue[Step], step: Step, pending: object) -> None:
    events.put(step)
