"""The Prefect flow: a task for each stage of dvc.yaml, then publish, register and push.

DVC decides what is out of date and caches outputs; Prefect decides when a run begins and shows what it does.
Nothing is cached twice, and the work (`pipelines.work`) never waits for Prefect: a server that goes away
changes what people see, not what is done. The flow works in the checkout in which its process stands, whoever
has loaded it: `hpt`, a worker, a container or cron.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    FlowRun,
    State,
    StateType,
)
from prefect.exceptions import FailedRun, TerminationSignal
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL

from hpt_core.errors import InputError, one_line
from pipelines import environment
from pipelines.deployment import alerts, artifacts
from pipelines.messages import clean, without_secrets
from pipelines.orchestration import prefect_record
from pipelines.orchestration.prefect_api import answers, answers_within
from pipelines.orchestration.prefect_record import Ended, Record
from pipelines.orchestration.prefect_tasks import STATES, PrefectTasks, ended
from pipelines.params.sections import ScheduleConfig
from pipelines.pools import child_run
from pipelines.result import Result
from pipelines.tracking.mlflow_errors import TrackingError
from pipelines.work import Work

logger = logging.getLogger(__name__)

GRACE = 120
"""Seconds that Prefect gives a run to reserve its slot before it counts as lost."""
SERVER_PATIENCE = 600.0
"""Seconds for which a run of a worker waits at its end for a server that is away, to tell it the result."""
POLL = 0.2
CANCEL_INTERVAL = 3.0
"""Seconds between two looks at whether somebody has cancelled a run that no worker watches."""

work_of_command: contextvars.ContextVar[Work | None] = contextvars.ContextVar("work", default=None)
"""The work of `hpt run`, which runs the flow in a thread beside it; a worker's flow makes its own."""


def delivered(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect has taken the final state."""
    prefect_record.forget(Path.cwd(), str(flow_run.id))


REPETITIVE = ("prefect.task_runs", "prefect.flow_runs", "prefect.engine")
"""Loggers in which Prefect repeats the state of a step or of the run, as if it were an exception."""


def say_failures_once() -> None:
    """Keep tracebacks of Prefect's engine out of the log of a run whose state says why it failed."""
    for name in REPETITIVE:
        logging.getLogger(name).addFilter(_is_no_repetition)


def _is_no_repetition(record: logging.LogRecord) -> bool:
    """Whether a log record is kept: False for a failed state that Prefect repeats with its own traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, FailedRun) or record.getMessage().startswith("Task run failed with state"))


@flow(
    name="hpt",
    validate_parameters=True,
    persist_result=False,
    on_completion=[delivered],
    on_failure=[delivered, alerts.send_without_server],
    on_crashed=[alerts.send_without_server],
)
def hpt(workers: int = 2, retries: int = 0) -> State[Any]:
    """Curate, train and evaluate every arm, publish what is new.

    workers: number of stages that run side by side. retries: how often a failed stage is run again.
    """
    return report(_work(workers), retries)


def _work(workers: int) -> Work:
    # A function of its own: `hpt serve` pickles the flow, and what its body names must be importable.
    return work_of_command.get() or Work(Path.cwd(), workers)


def report(work: Work, retries: int = 0) -> State[Any]:
    """Do `work` as the flow run of this process, show the results, and return the state in which it ended."""
    if PREFECT_API_URL.value() and environment.SERVER_OF_RUN not in os.environ:
        work.run_on_pool = child_run.run
    state = carry_out(work, retries)
    result, url = work.result, PREFECT_API_URL.value() or ""
    if result is not None and result.completed and answers(url):
        artifacts.show_results(work.root, _pages(work.root, result))
    return state


def carry_out(work: Work, retries: int = 0) -> State[Any]:
    """Do `work` as the flow run of this process, and return the state in which it ended."""
    environment.prepare(work.root)
    identifier, url = str(flow_run.id), PREFECT_API_URL.value() or ""
    say_failures_once()
    work.begun = partial(_begun, work.root, identifier)
    try:
        with without_secrets():
            _drive(work, retries, identifier)
    except InputError as error:
        # One line. Prefect would log an exception with its traceback.
        refused = replace(STATES["failed"], message=clean(str(error)))
        prefect_record.write(work.root, Record(identifier, refused))
        return refused.state()
    assert work.result is not None
    result = work.result
    steps = {name: ended(outcome) for name, outcome in result.outcomes.items()}
    prefect_record.write(work.root, Record(identifier, _ended_run(result), steps))
    if work_of_command.get() is None:
        # The command itself does not wait: it prints the result, and the next run tells Prefect.
        _wait_for_server(url)
    return _ended_run(result).state()


def _pages(root: Path, result: Result) -> dict[str, str]:
    """Pages of MLflow with the results of a flow run; none where MLflow fails, which `publish` has said."""
    from pipelines.tracking.pages.addresses import addresses

    try:
        return addresses(root, None if result.verdict == "unchanged" else result.flow_run)
    except TrackingError:
        return {}


def _begun(root: Path, identifier: str) -> None:
    """Note that the run has begun, and tell Prefect of those before it that could not do so themselves."""
    prefect_record.write(root, Record(identifier))
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(prefect_record.deliver, root, identifier), daemon=True).start()


def _wait_for_server(url: str) -> None:
    """Wait for a server that is away, so that Prefect's engine can report the end of the run."""
    if not answers(url):
        logger.warning(
            "Prefect's server is away; it is told the result if it is back in %.0f s", SERVER_PATIENCE
        )
        answers_within(url, SERVER_PATIENCE)


def _drive(work: Work, retries: int, identifier: str) -> None:
    """Do the work in a thread of its own, which nothing that Prefect raises in this one can end."""
    log, name = get_run_logger(), str(flow_run.name)
    work.views.append(artifacts.ProgressBars())

    def body() -> None:
        with suppress(BaseException):  # It is in `work.error`.
            work.run(PrefectTasks(retries), identifier, name, log.info)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(body,))
    thread.start()
    if work_of_command.get() is not None:
        watcher = threading.Thread(target=contextvars.copy_context().run, args=(_watch, work, identifier))
        watcher.daemon = True
        watcher.start()
    try:
        _wait(work.finished)
    # A worker that cancels, and SIGTERM in its process, raise here, in the main thread.
    except BaseException as error:
        signalled = isinstance(error, TerminationSignal)
        work.stop("cancelled in Prefect, or ended by SIGTERM" if signalled else f"ended by {one_line(error)}")
        thread.join()
        raise
    thread.join()
    if work.error is not None:
        raise work.error


def _watch(work: Work, identifier: str) -> None:
    """End the work where somebody cancels its flow run in Prefect: for `hpt run` no worker does."""
    while not work.finished.wait(CANCEL_INTERVAL):
        # A server that is away cancels nothing.
        with suppress(Exception), get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(identifier)).state
            if state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED):
                work.stop("cancelled in Prefect")


def _wait(finished: threading.Event) -> None:
    """Wait for the work, whatever becomes of the slot that the server lent to this run.

    Prefect raises a CancelledError here where the lease of the slot could not be renewed, because the server
    was away (prefect#19068). No other run can use the checkout meanwhile: see
    `pipelines.orchestration.run_lock`. An exception inside of `join` or `wait` would leave their locks in a
    wrong state, so this only looks again and again.
    """
    while not finished.is_set():
        try:
            time.sleep(POLL)
        except asyncio.CancelledError:
            logger.warning("Prefect's server lost the slot of this run; the run goes on")


def _ended_run(result: Result) -> Ended:
    return replace(STATES[result.verdict], message=result.message)


def serve(schedule: ScheduleConfig, workers: int = 2) -> None:
    """Serve the flow on its schedule, one run at a time: a run that would overlap is cancelled."""
    hpt.serve(
        name="nightly",
        schedule=Cron(schedule.cron, timezone=schedule.timezone),
        global_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=GRACE
        ),
        parameters={"workers": workers},
        limit=2,
    )
