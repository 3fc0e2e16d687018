"""Flows that run a part of the night alone: evaluation, promotion, the inbox, the retention of old runs, and
one stage for the flow of another checkout (`pipelines.pools`).

They work in the checkout in which their process stands, under the same lock as the whole flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines import environment, paths
from pipelines import flow as whole
from pipelines.deployment import retention as keeping
from pipelines.deployment.inbox_event import emit_received
from pipelines.environment import CHECKOUT, FLOW_RUN, FLOW_RUN_NAME
from pipelines.inbox.poll import poll
from pipelines.inbox.s3_errors import InboxError
from pipelines.messages import clean
from pipelines.orchestration import dvc_locks, run_lock
from pipelines.orchestration.dag import Stage
from pipelines.orchestration.process_group import CommandError
from pipelines.orchestration.steps import Executor, Log, Outcome, Step, failed
from pipelines.orchestration.submission import run_steps
from pipelines.params import load_params
from pipelines.pools import transfer
from pipelines.pools.child_run import send_reply
from pipelines.pools.handover import Handover, PoolError, Reply, check_worker
from pipelines.pools.on_pool import transferred
from pipelines.result import Result
from pipelines.tracking.dvc_lock import read_lock
from pipelines.work import Work

DELIVERED: list[Any] = [whole.delivered]
EVALUATION = ("evaluate_base", "evaluate", "compare")
"""Stages of the flow `evaluation`, without their arms."""


@flow(name="hpt-evaluation", persist_result=False, on_completion=DELIVERED, on_failure=DELIVERED)
def evaluation(workers: int = 2, retries: int = 0) -> State[Any]:
    """Evaluate the policies of the checkout, compare them and publish the result. Nothing is trained.

    workers: number of stages that run side by side. retries: how often a failed stage is run again.
    """
    return whole.report(Work(Path.cwd(), workers, choose=_evaluation_alone), retries)


def _evaluation_alone(stages: list[Stage]) -> list[Stage]:
    chosen = [stage for stage in stages if stage.name.partition("@")[0] in EVALUATION]
    names = {stage.name for stage in chosen}
    return [replace(stage, upstream=tuple(names.intersection(stage.upstream))) for stage in chosen]


@flow(name="hpt-promotion", persist_result=False, on_completion=DELIVERED, on_failure=DELIVERED)
def promotion() -> State[Any]:
    """Publish what MLflow lacks, and set candidate and champion from results that are there."""
    return whole.report(Work(Path.cwd(), choose=lambda stages: []))


@flow(name="hpt-inbox", persist_result=False)
def inbox() -> State[Any]:
    """Take the new files of the inbox; the event of each source that got some starts a training.

    While a run is going on in the checkout, the files wait for the next poll.
    """
    root = Path.cwd()
    environment.prepare(root)
    whole.say_failures_once()
    try:
        with run_lock.hold(root, str(flow_run.id)):
            received = poll(root)
    except run_lock.BusyError as busy:
        return Completed(name="Waiting", message=str(busy))
    except (InputError, InboxError) as error:
        return Failed(message=clean(str(error)))
    emit_received(received.taken)
    for key, reason in received.waiting.items():
        get_run_logger().warning("%s: waiting: %s", key, reason)
    return Completed(name=None if received.receipts else "Unchanged", message=str(received))


@flow(name="hpt-retention", persist_result=False)
def retention() -> State[Any]:
    """Remove runs of Prefect and deleted runs of MLflow that are older than `retention` of params.yaml."""
    root = Path.cwd()
    environment.prepare(root)
    whole.say_failures_once()
    removed = keeping.remove_old(root, load_params(root / paths.PARAMS).retention, str(flow_run.id))
    get_run_logger().info(str(removed))
    return Failed(message=str(removed)) if removed.problem else Completed(message=str(removed))


@flow(name="hpt-stage", persist_result=False, on_completion=DELIVERED, on_failure=DELIVERED)
def one_stage(
    stage: str,
    commit: str,
    params: str,
    lock: dict[str, Any],
    expected: dict[str, Any],
    flow_run: str,
    flow_run_name: str,
    checkout: str,
) -> State[Any]:
    """Run one stage for the flow of another checkout; see `pipelines.pools.handover.Handover`."""
    handover = Handover(stage, commit, params, lock, expected, flow_run, flow_run_name, checkout)  # type: ignore[arg-type]
    root = Path.cwd()
    if (holder := run_lock.holder(root)) and holder.flow_run == flow_run:
        return Failed(
            message=f"{root} is the checkout in which the flow itself runs, and waits for {stage}; start the "
            "worker in another clone of the project"
        )
    return whole.carry_out(StageWork(root, handover=handover))


@dataclass
class StageWork(Work):
    """The work of a worker: take the inputs, run the stage, give the outputs."""

    handover: Handover = field(kw_only=True)

    def _run(self, executor: Executor, env: dict[str, str], log: Log) -> Result:
        dvc_locks.free(self.root, self._waiting(log, "waiting for DVC, which is in use in this checkout: %s"))
        name = self.handover.stage
        env = {
            FLOW_RUN: self.handover.flow_run,
            FLOW_RUN_NAME: self.handover.flow_run_name,
            CHECKOUT: self.handover.checkout,
        }
        steps = [
            Step("inputs", "Inputs from the DVC remote", (), self._guarded(self._take)),
            self._stage(
                Stage(name, f"{name} of the flow run {env[FLOW_RUN]}", ("inputs",), changed=True), env
            ),
            Step("outputs", "Outputs to the DVC remote", (name,), self._guarded(self._give)),
        ]
        run_steps(steps, executor, 1, self.outcomes, self.views)
        return Result(self.outcomes, self.stopped, env[FLOW_RUN])

    def _take(self, log: Log) -> Outcome:
        check_worker(self.root, self.handover.commit)
        self.handover.write(self.root)
        self._remove_stale_outputs(log)
        name = self.handover.stage
        write_json(self.root / transfer.place(name), {"expected": self.handover.expected})
        (self.root / paths.timing(name)).unlink(missing_ok=True)
        transferred("take", name, self.root, self.groups, log)
        return Outcome("done", f"the inputs of {name} are those of the flow")

    def _give(self, log: Log) -> Outcome:
        name = self.handover.stage
        transferred("give", name, self.root, self.groups, log)
        timing = self.root / paths.timing(name)
        send_reply(Reply(read_lock(self.root)[name], read_json(timing) if timing.exists() else None))
        return Outcome("done", f"the outputs of {name} are in the DVC remote")

    def _guarded(self, act: Callable[[Log], Outcome]) -> Callable[[Log], Outcome]:
        """What `act` gives; a refusal is a failure in one line."""

        def guarded(log: Log) -> Outcome:
            try:
                return act(log)
            except InputError as error:
                return failed(clean(str(error)), status=2)
            except PoolError as error:
                return failed(str(error), status=error.status)
            except CommandError as error:
                return failed(error.tail[-1] if error.tail else str(error), status=error.status)

        return guarded
