"""The Prefect flow: a task for each stage of dvc.yaml, then publish, register and push.

DVC decides what is out of date and caches; Prefect decides what runs when, and shows it. Nothing is cached
twice. `pipelines.environment.prepare` must have run before this module is imported.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.futures import PrefectFuture
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hpt_core.errors import InputError
from pipelines.environment import tracking_uri
from pipelines.orchestration.dag import Stage, load_stages, remove_stale_outputs
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.params import load_params
from pipelines.params.sections import ScheduleConfig

logger = logging.getLogger(__name__)

Log = logging.Logger | logging.LoggerAdapter[Any]
Submit = Callable[[Stage, list[PrefectFuture[Any]]], PrefectFuture[Any]]
HINTS = (
    "Running stage",
    "Generating lock file",
    "Updating lock file",
    "To track the changes",
    "git add dvc.lock",
    "To enable auto staging",
    "dvc config core",
    "Use `dvc push",
)
"""What DVC says around every stage; the flow says it better, or it is advice for a person at work."""
GRACE = 120
"""Seconds that Prefect gives a run to reserve its slot before it counts as lost."""


@dataclass(frozen=True)
class StageRunner:
    """Runs stages of one checkout through DVC, each in its own process group."""

    root: Path
    groups: ProcessGroups
    env: dict[str, str]
    """For the stages: which flow run they are part of."""
    progress: Progress
    failures: dict[str, str] = field(default_factory=dict)
    """Stage -> what a reader of the flow's state is told."""

    def __call__(self, stage: Stage) -> State[Any]:
        """Body of a stage's task: Completed, named Unchanged where nothing had to be done, or Failed."""
        if not stage.changed:
            return Completed(name="Unchanged", message=f"{stage.name} is up to date")
        log = get_run_logger()
        log.info(stage.desc)
        # The flag stands before the subcommand; without it parallel calls fail on DVC's lock.
        command = ["dvc", "--wait-for-lock", "repro", "--single-item", stage.name]
        row = self.progress.add_task(stage.name, total=None)
        try:
            self.groups.run(command, self.root, partial(_pass_on, log), self.env)
        except CommandError as error:
            self.failures[stage.name] = _failure(stage.name, error)
            return Failed(message=f"{stage.name}: {error}")
        finally:
            self.progress.remove_task(row)
        self.failures.pop(stage.name, None)  # of an earlier try
        return Completed(message=f"{stage.name} is done")


def _pass_on(log: Log, line: str) -> None:
    if not line.strip().startswith(HINTS):
        log.info("%s", line)


def _failure(name: str, error: CommandError) -> str:
    tail = "\n".join(f"  {line}" for line in error.tail)
    return (
        f"stage {name} failed with {error}; the last lines of its output:\n{tail}\n"
        f"Run it again with: dvc repro --single-item {name}"
    )


def run_stages(stages: Sequence[Stage], submit: Submit, workers: int) -> dict[str, PrefectFuture[Any]]:
    """Submit each stage once all that it waits for has ended, at most `workers` at a time.

    A stage below a failed one is submitted too: Prefect then shows it as not ready, and never runs it.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    ended: set[str] = set()
    events: SimpleQueue[str] = SimpleQueue()
    waiting = list(stages)
    while len(ended) < len(stages):
        for stage in [s for s in waiting if ended.issuperset(s.upstream)]:
            if len(futures) - len(ended) >= workers:
                break
            waiting.remove(stage)
            futures[stage.name] = submit(stage, [futures[name] for name in stage.upstream])
            futures[stage.name].add_done_callback(partial(_announce, events, stage.name))
        ended.add(events.get())
    return futures


def _announce(events: SimpleQueue[str], name: str, future: PrefectFuture[Any]) -> None:
    events.put(name)


@flow(name="hpt", validate_parameters=True, persist_result=False)
def hpt(root: str = ".", workers: int = 2, retries: int = 0) -> State[Any]:
    """Curate, train and evaluate every arm, publish what is new.

    workers: stages that run side by side. retries: of a stage that failed.
    """
    folder = Path(root).resolve()
    params = load_params(folder / "params.yaml")
    for path in remove_stale_outputs(folder, params.arms):
        get_run_logger().info("%s removed: params.yaml has no such arm; DVC's cache keeps it", path.name)
    stages = load_stages(folder)
    groups = ProcessGroups()
    env = {"HPT_FLOW_RUN": str(flow_run.id), "HPT_FLOW_RUN_NAME": str(flow_run.name)}
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
    return _finish(folder, env, {name: _ended(future) for name, future in futures.items()}, run.failures)


def _finish(
    root: Path, env: dict[str, str], states: dict[str, State[Any]], failures: dict[str, str]
) -> State[Any]:
    """Publish, register, push; the state of the whole, with the message of all that failed."""
    failed = any(not state.is_completed() for state in states.values())
    published = publish.submit(root, env, "FAILED" if failed else "FINISHED")
    states["publish"] = _ended(published)
    if not failed:
        registered = register.submit(root, wait_for=[published], return_state=False)
        pushed = push.submit(root)
        states |= {"register": _ended(registered), "push": _ended(pushed)}
    messages = [
        failures.get(name) or state.message or name for name, state in states.items() if state.is_failed()
    ]
    if messages:
        skipped = [name for name, state in states.items() if not state.is_final()]
        tail = [f"not run: {', '.join(skipped)}"] if skipped else []
        return Failed(message="\n\n".join(messages + tail))
    changed = [name for name, state in states.items() if state.name != "Unchanged"]
    if not changed:
        return Completed(name="Unchanged", message="every stage is up to date, nothing to publish")
    return Completed(message=f"done: {', '.join(changed)}")


def _ended(future: PrefectFuture[Any]) -> State[Any]:
    future.wait()  # without it the state is the server's, which lags behind
    return future.state


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(root: Path, env: dict[str, str], status: str) -> State[Any]:
    """Bring MLflow up to the files. The files are whole whether or not it can be reached."""
    # mlflow takes seconds to import; `run` has begun on it while the Prefect server starts.
    from pipelines.tracking import publish

    try:
        done = publish.publish(root, env["HPT_FLOW_RUN"], env["HPT_FLOW_RUN_NAME"], status)
    except InputError as error:
        return Failed(message=str(error))
    except publish.UNREACHABLE as error:
        return Failed(message=_unpublished(root, error))
    get_run_logger().info(str(done))
    return Completed(message=str(done)) if done.changed else Completed(name="Unchanged", message=str(done))


@task(name="register", task_run_name="register", cache_policy=NO_CACHE, persist_result=False)
def register(root: Path) -> State[Any]:
    """Versions and aliases in the model registry."""
    from pipelines.tracking import publish, registry

    try:
        done = registry.register(root)
    except InputError as error:
        return Failed(message=str(error))
    except publish.UNREACHABLE as error:
        return Failed(message=_unpublished(root, error))
    get_run_logger().info(str(done))
    return Completed(message=str(done)) if done.changed else Completed(name="Unchanged", message=str(done))


def _unpublished(root: Path, error: Exception) -> str:
    reason = (str(error) or repr(error)).splitlines()[0][:300]
    return (
        f"MLflow at {tracking_uri(root)} failed: {reason}\n"
        "Models, data and metrics are whole on disk. Publish them with: hpt publish"
    )


@task(name="push", task_run_name="push", cache_policy=NO_CACHE, persist_result=False)
def push(root: Path) -> State[Any]:
    """Copy new data and models to the default DVC remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            count = repo.push()
    except DvcException as error:
        return Failed(message=f"dvc push failed: {error}\nPush again with: dvc push")
    get_run_logger().info("%d files pushed", count)
    message = f"{count} files pushed"
    return Completed(message=message) if count else Completed(name="Unchanged", message=message)


def run(root: Path, workers: int = 2, retries: int = 0) -> State[Any]:
    """One flow run in this process; on Prefect's ephemeral server unless PREFECT_API_URL is set."""
    threading.Thread(target=_warm_up, args=(root,), daemon=True).start()
    runner: Any = ThreadPoolTaskRunner(max_workers=workers + 1)
    return hpt.with_options(task_runner=runner)(
        str(root.resolve()), workers=workers, retries=retries, return_state=True
    )


def _warm_up(root: Path) -> None:
    """Import mlflow and create its database while the Prefect server starts and the first stage runs."""
    from pipelines.tracking import publish
    from pipelines.tracking.mlflow_store import Store

    try:
        Store(root, load_params(root / "params.yaml").tracking.experiment)
    except publish.UNREACHABLE as error:
        logger.warning("%s", _unpublished(root, error).splitlines()[0])


def serve(root: Path, schedule: ScheduleConfig, workers: int = 2) -> None:
    """Serve the flow on its schedule, one run at a time: a run that would overlap is cancelled."""
    hpt.serve(
        name="nightly",
        schedule=Cron(schedule.cron, timezone=schedule.timezone),
        global_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=GRACE
        ),
        parameters={"root": str(root.resolve()), "workers": workers},
        limit=2,
    )


@contextmanager
def _progress() -> Iterator[Progress]:
    """A row for each running stage, below the log lines; only where someone looks at a terminal."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, PrefectConsoleHandler)]
    console = handlers[0].console if handlers else Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
