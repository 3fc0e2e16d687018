"""Flows that run a part of the night alone: evaluation, promotion, the inbox, the retention of old runs.

They work in the checkout in which their process stands, under the same lock as the whole flow.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from hpt_core.errors import InputError
from pipelines import environment, paths
from pipelines import flow as whole
from pipelines.deployment import retention as keeping
from pipelines.deployment.inbox_event import emit_received
from pipelines.inbox.poll import poll
from pipelines.inbox.s3_errors import InboxError
from pipelines.messages import clean
from pipelines.orchestration import run_lock
from pipelines.orchestration.dag import Stage
from pipelines.params import load_params
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
