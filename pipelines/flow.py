"""The Prefect flow: a task for each stage of dvc.yaml, then publish, register and push.

DVC decides what is out of date and caches outputs; Prefect decides when a stage runs and shows its state.
Nothing is cached twice. The flow works in the checkout in which its process stands, whoever has loaded it:
`hpt`, a worker, a container or cron.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.futures import PrefectFuture
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpt_core.errors import InputError
from pipelines import environment, paths
from pipelines.deployment import alerts, artifacts
from pipelines.environment import FLOW_RUN, FLOW_RUN_NAME
from pipelines.messages import clean, without_secrets
from pipelines.orchestration import run_lock
from pipelines.orchestration.dag import Stage, load_stages
from pipelines.orchestration.dvc_stage import failure_message, reproduce
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.orchestration.stale_outputs import remove_stale_outputs
from pipelines.orchestration.submission import run_stages
from pipelines.params import load_params
from pipelines.params.sections import ScheduleConfig
from pipelines.tracking.mlflow_errors import TrackingError, tracking_errors
from pipelines.tracking.source import record_source

logger = logging.getLogger(__name__)

PUBLISH_LATER = "Models, data and metrics are complete on disk. Publish them with: hpt publish"
GRACE = 120
"""Seconds that Prefect gives a run to reserve its slot before it counts as lost."""


@dataclass(frozen=True)
class StageRunner:
    """Runs stages of one checkout through DVC, each in its own process group."""

    root: Path
    groups: ProcessGroups
    env: dict[str, str]
    """Environment variables that tell a stage which flow run it belongs to."""
    progress: Progress
    failures: dict[str, str] = field(default_factory=dict)
    """Stage -> the message of its failure, for the state of the flow."""

    def __call__(self, stage: Stage) -> State[Any]:
        """Body of a stage's task: Completed, named Unchanged where nothing had to be done, or Failed."""
        if not stage.changed:
            return Completed(name="Unchanged", message=f"{stage.name} is up to date")
        log = get_run_logger()
        log.info(stage.desc)
        row = self.progress.add_task(stage.name, total=None)
        shown = artifacts.StageProgress(stage.name)

        def say(line: str) -> None:
            log.info("%s", line)
            shown.read(line)

        try:
            reproduce(stage.name, self.root, self.groups, say, self.env)
        except CommandError as error:
            self.failures[stage.name] = failure_message(stage.name, error)
            return Failed(message=f"{stage.name}: {error}")
        finally:
            self.progress.remove_task(row)
        self.failures.pop(stage.name, None)  # An earlier attempt may have failed.
        return Completed(message=f"{stage.name} is done")


@flow(
    name="hpt",
    validate_parameters=True,
    persist_result=False,
    on_failure=[alerts.send_without_server],
    on_crashed=[alerts.send_without_server],
)
def hpt(workers: int = 2, retries: int = 0) -> State[Any]:
    """Curate, train and evaluate every arm, publish what is new.

    workers: number of stages that run side by side. retries: how often a failed stage is run again.
    """
    with checkout() as folder:
        return run_stages_of(folder, workers, retries)


@contextmanager
def checkout() -> Iterator[Path]:
    """The checkout in which this process stands, prepared and locked for this flow run."""
    folder = Path.cwd()
    environment.prepare(folder)
    with without_secrets(), run_lock.hold(folder, str(flow_run.id), _wait_for):
        record_source(folder, str(flow_run.id))
        yield folder


def _wait_for(holder: run_lock.Holder) -> None:
    get_run_logger().info("waiting for the run that is going on in this checkout: %s", holder)


def run_stages_of(
    folder: Path, workers: int, retries: int, choose: Callable[[list[Stage]], list[Stage]] = list
) -> State[Any]:
    """Run the stages of `folder` that `choose` leaves, publish and push what is new."""
    params = load_params(folder / paths.PARAMS)
    _remove_stale_outputs(folder, params.arms)
    stages = choose(load_stages(folder))
    groups = ProcessGroups()
    env = this_run()
    with _progress() as progress:
        run = StageRunner(folder, groups, env, progress)

        def submit(stage: Stage, upstream: list[PrefectFuture[Any]]) -> PrefectFuture[Any]:
            described = task(
                name=stage.name,
                task_run_name=stage.name,
                description=stage.desc,
                retries=retries,
                cache_policy=NO_CACHE,
                persist_result=False,
            )(run.__call__)
            return described.submit(stage, wait_for=upstream, return_state=False)

        try:
            futures = run_stages(stages, submit, workers)
        finally:
            # Ctrl-C, SIGTERM and Prefect's cancellation raise here, in the main thread.
            groups.close()
    return finish(folder, env, {name: _ended(future) for name, future in futures.items()}, run.failures)


def _remove_stale_outputs(root: Path, arms: Collection[str]) -> None:
    stale = remove_stale_outputs(root, arms)
    for path in stale.removed:
        get_run_logger().info("%s removed: params.yaml has no such arm; DVC keeps it", path)
    for path, reason in stale.kept.items():
        get_run_logger().warning("%s is of no arm and was left alone: %s", path, reason)


def this_run() -> dict[str, str]:
    """Environment variables that tell a stage which flow run it belongs to."""
    return {FLOW_RUN: str(flow_run.id), FLOW_RUN_NAME: str(flow_run.name)}


def finish(
    root: Path, env: dict[str, str], states: dict[str, State[Any]], failures: dict[str, str]
) -> State[Any]:
    """Publish, register and push; return the state of the flow, with the messages of all that failed."""
    failed = any(not state.is_completed() for state in states.values())
    published = publish.submit(root, env, "FAILED" if failed else "FINISHED")
    states["publish"] = _ended(published)
    if not failed:
        registered = register.submit(root, wait_for=[published], return_state=False)
        pushed = push.submit(root)
        states |= {"register": _ended(registered), "push": _ended(pushed)}
        artifacts.show_results(root, _pages(root, env[FLOW_RUN]))
    messages = [
        failures.get(name) or state.message or name for name, state in states.items() if state.is_failed()
    ]
    if messages:
        skipped = [name for name, state in states.items() if not state.is_final()]
        tail = [f"not run: {', '.join(skipped)}"] if skipped else []
        return Failed(message=clean("\n\n".join(messages + tail)))
    changed = [name for name, state in states.items() if state.name != "Unchanged"]
    if not changed:
        return Completed(name="Unchanged", message="every stage is up to date, nothing to publish")
    return Completed(message=f"done: {', '.join(changed)}")


def _ended(future: PrefectFuture[Any]) -> State[Any]:
    # Without the wait, the state would be that of the server, which lags behind.
    future.wait()
    return future.state


def _pages(root: Path, run: str) -> dict[str, str]:
    """Pages of MLflow with the results of a flow run; none where MLflow fails, which `publish` has said."""
    from pipelines.tracking.addresses import addresses

    try:
        return addresses(root, run)
    except TrackingError:
        return {}


class Outcome(Protocol):
    """What publishing or registering did; its text is the message of the task."""

    @property
    def changed(self) -> bool: ...


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(root: Path, env: dict[str, str], status: str) -> State[Any]:
    """Publish what MLflow lacks. The files are complete whether or not it can be reached."""
    # Importing mlflow takes seconds; `run` has begun with it while the Prefect server starts.
    from pipelines.tracking.publish import publish

    return _tracking_state(lambda: publish(root, env[FLOW_RUN], env[FLOW_RUN_NAME], status))


@task(name="register", task_run_name="register", cache_policy=NO_CACHE, persist_result=False)
def register(root: Path) -> State[Any]:
    """Set versions and aliases in the model registry."""
    from pipelines.tracking.registry import register

    return _tracking_state(lambda: register(root))


def _tracking_state(action: Callable[[], Outcome]) -> State[Any]:
    """The state of a task that writes to MLflow."""
    try:
        outcome = action()
    except InputError as error:
        return Failed(message=clean(str(error)))
    except TrackingError as error:
        return Failed(message=f"{error}\n{PUBLISH_LATER}")
    get_run_logger().info(str(outcome))
    return Completed(name=None if outcome.changed else "Unchanged", message=str(outcome))


@task(name="push", task_run_name="push", cache_policy=NO_CACHE, persist_result=False)
def push(root: Path) -> State[Any]:
    """Copy new data and models to the default DVC remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            count = repo.push()
    except DvcException as error:
        return Failed(message=clean(f"dvc push failed: {error}\nPush again with: dvc push"))
    get_run_logger().info("%d files pushed", count)
    message = f"{count} files pushed"
    return Completed(message=message) if count else Completed(name="Unchanged", message=message)


def run(workers: int = 2, retries: int = 0) -> State[Any]:
    """Run the flow once in this process, on Prefect's ephemeral server unless PREFECT_API_URL is set."""
    if not PREFECT_API_URL.value():
        # Otherwise Prefect imports its ephemeral server while the other thread imports mlflow. mlflow makes
        # SQLAlchemy configure all database models, which fails for good if those of Prefect are incomplete.
        importlib.import_module("prefect.server.api.server")
    threading.Thread(target=_warm_up, args=(Path.cwd(),), daemon=True).start()
    runner: Any = ThreadPoolTaskRunner(max_workers=workers + 1)
    return hpt.with_options(task_runner=runner)(workers=workers, retries=retries, return_state=True)


def _warm_up(root: Path) -> None:
    """Import mlflow and create its database while the Prefect server starts and the first stage runs."""
    from pipelines.tracking.mlflow_store import Store

    try:
        with tracking_errors(root):
            Store(root, load_params(root / paths.PARAMS).tracking.experiment)
    except TrackingError as error:
        logger.warning("%s", error)


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


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress row for each running stage, below the log lines; nothing without a terminal."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, PrefectConsoleHandler)]
    console = handlers[0].console if handlers else Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
