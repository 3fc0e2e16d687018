"""A stage on a pool as a run of Prefect: started below the run of the flow, awaited, cancelled with it."""

from __future__ import annotations

import json
import time
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling

from hpt_core.errors import one_line
from pipelines.deployment.specification import STAGE_FLOW, stage_deployment
from pipelines.messages import clean
from pipelines.orchestration.process_group import ProcessGroups
from pipelines.orchestration.steps import Log
from pipelines.pools.handover import Handover, PoolError, Reply

POLL_S = 2.0
"""Seconds between two looks at how far the worker is."""
PATIENCE_S = 600.0
"""Seconds for which a server that does not answer is asked again. The worker goes on meanwhile."""
WAITING_S = 30.0
"""Seconds after which a run that no worker has taken is told of."""
SAME = ("stage", "commit", "expected", "checkout")
"""Parameters in which two runs are the same stage of the same inputs, for the same checkout."""
GOING_ON = ["SCHEDULED", "PENDING", "RUNNING"]
"""Types of the states of a run that has not ended."""
KEY = "hpt-stage"
"""Key of the artifact in which the worker hands back its reply. A result of Prefect would lie on the worker's
disk, which the flow does not reach."""


def run(handover: Handover, pool: str, groups: ProcessGroups, log: Log) -> Reply:
    """Run the stage on `pool` and wait for what it made. Raises PoolError.

    A run that a killed flow has left to its worker is waited for, since another worker of the pool would
    begin the stage anew. groups: once they are closed, the run of the worker is cancelled.
    """
    if (left := _left_behind(handover, pool)) is not None:
        log("%s runs on %s, which an earlier run has begun", handover.stage, _where(pool, left))
        try:
            return _awaited(left, handover, pool, groups, log)
        except _NotCompletedError as error:
            log("%s; it is begun anew", error)
    child = _start(handover, pool)
    log("%s runs on %s", handover.stage, _where(pool, child))
    return _awaited(child, handover, pool, groups, log)


class _NotCompletedError(PoolError):
    """The run of a worker ended otherwise than well, and nobody has cancelled the flow."""


def _where(pool: str, child: FlowRun) -> str:
    return f"pool {pool}, flow run {child.name} ({child.id})"


def _awaited(child: FlowRun, handover: Handover, pool: str, groups: ProcessGroups, log: Log) -> Reply:
    """What the run of the worker hands back once it has ended. Raises PoolError."""
    where = _where(pool, child)
    try:
        state = _await_end(child, pool, groups, log)
        if state is None:
            _cancel(child.id)
            raise PoolError(f"{handover.stage} on {where} was cancelled with the run")
        if not state.is_completed():
            reason = clean(state.message or "no reason is known")
            raise _NotCompletedError(f"{handover.stage} on {where} is {(state.name or '').upper()}: {reason}")
        return _reply(child.id)
    except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
        raise PoolError(
            f"Prefect's server does not say how {handover.stage} on {where} ended ({one_line(error)}); "
            "the worker goes on, and the next run takes what it made"
        ) from error


def send_reply(reply: Reply) -> None:
    """Hand back what the flow run of this process made. Raises PoolError once the server's silence outlasts
    PATIENCE_S."""
    data = {"entry": reply.entry, "timing": reply.timing}
    description = "The stage's entry of dvc.lock, which the flow takes over"
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            Artifact(type="json", key=KEY, description=description, data=data).create()
            return
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            if time.monotonic() > until:
                raise PoolError(
                    f"Prefect's server did not take the reply ({one_line(error)}); the outputs are in the "
                    "DVC remote and in this checkout, and the next run takes them"
                ) from error
            time.sleep(POLL_S)


def _left_behind(handover: Handover, pool: str) -> FlowRun | None:
    """The run of this stage that has not ended, though the flow that began it has."""
    wanted = handover.parameters()
    try:
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": [STAGE_FLOW]}}),
                deployment_filter=DeploymentFilter.model_validate(
                    {"name": {"any_": [stage_deployment(pool)]}}
                ),
                flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": GOING_ON}}}),
            )
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise _refused(handover, pool, error) from error
    return next((run for run in runs if all(run.parameters.get(key) == wanted[key] for key in SAME)), None)


def _start(handover: Handover, pool: str) -> FlowRun:
    name = f"{STAGE_FLOW}/{stage_deployment(pool)}"
    try:
        started = run_deployment(
            name,
            parameters=handover.parameters(),
            flow_run_name=f"{handover.stage} of {handover.flow_run_name}",
            timeout=0,
            as_subflow=True,
        )
        return cast(FlowRun, started)
    except ObjectNotFound as error:
        raise PoolError(
            f"the Prefect server has no deployment {name} for {handover.stage}; run `hpt deploy`"
        ) from error
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise _refused(handover, pool, error) from error


def _refused(handover: Handover, pool: str, error: Exception) -> PoolError:
    return PoolError(f"Prefect did not take {handover.stage} for pool {pool}: {one_line(error)}")


def _await_end(child: FlowRun, pool: str, groups: ProcessGroups, log: Log) -> State[Any] | None:
    """The final state; None once `groups` are closed."""
    begun = answered = time.monotonic()
    announced = False
    with get_client(sync_client=True) as client:
        while not groups.closed_within(POLL_S):
            try:
                state = client.read_flow_run(child.id).state
                answered = time.monotonic()
            except (httpx.HTTPError, PrefectHTTPStatusError):
                if time.monotonic() - answered > PATIENCE_S:
                    raise
                continue
            if state is not None and state.is_final():
                return state
            if not announced and state and state.is_scheduled() and answered - begun > WAITING_S:
                log(
                    "no worker of pool %s has taken it yet; in a clone on its machine: hpt worker --pool %s",
                    pool,
                    pool,
                )
                announced = True
    return None


def _cancel(child: UUID) -> None:
    """A run that no worker has taken yet becomes Cancelled at once."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(child, Cancelling())


def _reply(child: UUID) -> Reply:
    with get_client(sync_client=True) as client:
        found = _artifacts(client, child)
    if not found:
        raise PoolError(
            f"flow run {child} of the worker has no artifact {KEY}; somebody has removed it: run again"
        )
    data = json.loads(found[-1]["data"])  # Prefect keeps the data of an artifact as a text.
    return Reply(data["entry"], data["timing"])


def _artifacts(client: SyncPrefectClient, child: UUID) -> list[dict[str, Any]]:
    wanted = {"flow_run_id": {"any_": [str(child)]}, "key": {"any_": [KEY]}}
    found: list[dict[str, Any]] = client.request(
        "POST", "/artifacts/filter", json={"artifacts": wanted}
    ).json()
    return sorted(found, key=lambda artifact: artifact["created"])
