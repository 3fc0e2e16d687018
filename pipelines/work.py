"""What a run does, whoever watches it: the stages that are out of date, then publish, register and push.

Nothing here needs Prefect or waits for it. `pipelines.flow` reports what happens here to Prefect; without
Prefect the same steps run in threads (`pipelines.orchestration.steps.Threads`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.environment import FLOW_RUN, FLOW_RUN_NAME
from pipelines.final_steps import STEPS, FinalSteps, close_runs
from pipelines.orchestration import dvc_locks, run_lock
from pipelines.orchestration.dag import Stage, load_stages, mend_lock, order_lock
from pipelines.orchestration.dvc_stage import failure_line, failure_message, reproduce
from pipelines.orchestration.edited_outputs import keep_edited
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.orchestration.stale_outputs import remove_stale_outputs
from pipelines.orchestration.steps import Executor, Log, Outcome, Step, failed
from pipelines.orchestration.submission import run_steps
from pipelines.orchestration.views import View
from pipelines.params import load_params
from pipelines.pools import assignment
from pipelines.pools.handover import PoolError
from pipelines.pools.on_pool import RunOnPool, reproduce_on
from pipelines.result import Result
from pipelines.tracking.source import record_source

logger = logging.getLogger(__name__)


@dataclass
class Work:
    """One run of the checkout `root`; `stop` ends it from another thread."""

    root: Path
    workers: int = 2
    """Stages that run side by side."""
    choose: Callable[[list[Stage]], list[Stage]] = list
    """Which of the stages it runs, all by default."""
    wait: bool = True
    """Whether to wait for another run of the checkout; else it raises BusyError."""
    begun: Callable[[], None] = lambda: None
    """Called once no other run of the checkout is going on."""
    run_on_pool: RunOnPool | None = None
    """Runs a stage on the pool that params.yaml gives it; None where no worker of a pool could know of it."""
    groups: ProcessGroups = field(default_factory=ProcessGroups)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stopped: str = ""
    """Why the run was told to end before it was done."""
    views: list[View] = field(default_factory=list)
    """What shows the steps that are running."""
    finished: threading.Event = field(default_factory=threading.Event)
    result: Result | None = None
    error: BaseException | None = None
    """Why there is no result: the run could not be begun, or has a fault."""
    refusal: str = ""
    """What Prefect said where it did not take the run, or its result."""

    def run(self, executor: Executor, flow_run: str, name: str, log: Log) -> Result:
        """Do everything that is out of date; the result holds what failed.

        flow_run, name: identify the run in MLflow. Raises InputError where nothing can be begun.
        """
        waiting = self._waiting(log, run_lock.WAITING)
        try:
            with run_lock.hold(self.root, flow_run, waiting if self.wait else None):
                self.begun()
                record_source(self.root, flow_run)
                self.result = self._run(executor, {FLOW_RUN: flow_run, FLOW_RUN_NAME: name}, log)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.groups.close()
            self.close_views()
            self.finished.set()
        return self.result

    def stop(self, reason: str) -> None:
        """End every process of the run, and the run with it; its runs in MLflow end as KILLED."""
        self.stopped = self.stopped or reason
        self.groups.close()

    def close_views(self) -> None:
        """Leave the terminal as it was."""
        for view in self.views:
            view.close()

    def _run(self, executor: Executor, env: dict[str, str], log: Log) -> Result:
        dvc_locks.free(self.root, self._waiting(log, "waiting for DVC, which is in use in this checkout: %s"))
        if mend_lock(self.root):
            log("dvc.lock was cut off by a kill; what it lacks comes from git and from DVC's run cache")
        # MLflow may take seconds to answer, in which the first stage can run.
        final = FinalSteps(self.root, self.groups, env[FLOW_RUN], env[FLOW_RUN_NAME])
        closing = threading.Thread(target=final.look_at_mlflow)
        closing.start()
        self._remove_stale_outputs(log)
        loaded = load_stages(self.root)
        chosen = self.choose(loaded)
        pools = self._pools(loaded, chosen)
        for path, place in keep_edited(self.root, chosen).items():
            log("%s was changed by hand; it is kept as %s, and what its stage wrote comes back", path, place)
        stages = [self._stage(stage, env, pools.get(stage.name)) for stage in chosen]
        run_steps(stages, executor, self.workers, self.outcomes, self.views)
        order_lock(self.root, loaded)
        closing.join()
        if not self.stopped:
            complete = all(outcome.good for outcome in self.outcomes.values())
            run_steps(final.steps(complete), executor, self.workers + 1, self.outcomes, self.views)
        if self.stopped:
            close_runs(self.root, None, self.stopped)
        order = [*(step.name for step in stages), *(name for name in STEPS if name in self.outcomes)]
        return Result({name: self.outcomes[name] for name in order}, self.stopped, env[FLOW_RUN])

    def _pools(self, loaded: list[Stage], chosen: list[Stage]) -> dict[str, str]:
        """Stage -> its pool, for those that run elsewhere. Raises InputError where one could not."""
        pools = load_params(self.root / paths.PARAMS).pools
        assigned = assignment.assign(pools, [stage.name for stage in loaded])
        due = {
            stage.name: assigned[stage.name] for stage in chosen if stage.changed and stage.name in assigned
        }
        assignment.check(self.root, due, reachable=self.run_on_pool is not None)
        return due

    def _stage(self, stage: Stage, env: dict[str, str], pool: str | None = None) -> Step:
        def act(log: Log) -> Outcome:
            if not stage.changed:
                return Outcome("unchanged", f"{stage.name} is up to date")
            log(stage.desc)
            try:
                if pool is not None:
                    assert self.run_on_pool is not None
                    done = reproduce_on(pool, stage.name, self.root, self.groups, env, log, self.run_on_pool)
                else:
                    done = reproduce(stage.name, self.root, self.groups, partial(log, "%s"), env)
            except CommandError as error:
                message, line = failure_message(stage.name, error), failure_line(stage.name, error)
                return failed(message, line, error.status)
            except PoolError as error:
                return failed(str(error), status=error.status)
            return Outcome(done, f"{stage.name} is {done}")

        return Step(stage.name, stage.desc, stage.upstream, act)

    def _remove_stale_outputs(self, log: Log) -> None:
        stale = remove_stale_outputs(self.root, load_params(self.root / paths.PARAMS).arms)
        for path in stale.removed:
            log("%s removed: params.yaml has no such arm; DVC keeps it", path)
        for path, reason in stale.kept.items():
            log("%s is of no arm and was left alone: %s", path, reason)

    def _waiting(self, log: Log, text: str) -> Callable[[object], None]:
        """Says once for whom the run waits. Raises InputError when the run is told to end meanwhile."""
        tell = run_lock.once(partial(log, "%s"), text)

        def wait(whom: object) -> None:
            if self.stopped:
                raise InputError(f"{text % whom}; {self.stopped}")
            tell(whom)

        return wait
