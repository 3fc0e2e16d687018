"""Brings a Prefect server to what `specification` and `automations` say. A second call changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.callables import ParameterSchema

from hpt_core.errors import InputError
from pipelines.deployment import blocks, job_templates
from pipelines.deployment.changes import Changes
from pipelines.deployment.specification import (
    COLLISION,
    GRACE,
    SLOT,
    Deployment,
    PoolType,
    pool_name,
)

DESCRIPTION = (
    "Runs of the HPT pipeline. `hpt deploy` wrote the job template, which fixes what a run may start."
)

PATIENCE = {PREFECT_API_REQUEST_TIMEOUT: 30.0, PREFECT_CLIENT_MAX_RETRIES: 3}
"""Somebody waits at the terminal: a server that hangs is told of after two minutes, not after six."""


@contextmanager
def connect() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server in force.

    Raises InputError where none answers, one refuses, or one stops to answer.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            "deployments need a Prefect server: `hpt stack up` starts one, PREFECT_API_URL names one"
        )
    with temporary_settings(PATIENCE), get_client(sync_client=True) as client:
        if (error := client.api_healthcheck()) is not None:
            reason = type(error).__name__
            raise InputError(
                f"no Prefect server answers at PREFECT_API_URL ({reason}); start it, or correct it"
            )
        try:
            yield client
        except PrefectHTTPStatusError as refusal:
            request, status = refusal.request, refusal.response.status_code
            detail = refusal.response.text[:300]
            raise InputError(
                f"the Prefect server refused {request.method} {request.url.path} with {status}: {detail}"
            ) from refusal
        except httpx.TransportError as error:
            reason = type(error).__name__
            raise InputError(
                f"the Prefect server no longer answers ({reason}): start it again, then give the same command"
                " again, which goes on from what is there. On SQLite, Prefect before 3.8.6 can block itself"
                " while an automation is written (prefect#23055)"
            ) from error


def flow_name(flow_run: UUID) -> str:
    """Name of the flow of a flow run."""
    with get_client(sync_client=True) as client:
        flow_id = client.read_flow_run(flow_run).flow_id
        flow = client.request("GET", "/flows/{id}", path_params={"id": str(flow_id)}).json()
        return str(flow["name"])


def apply_pool(
    client: SyncPrefectClient, name: str, pool_type: PoolType, template: dict[str, Any], changes: Changes
) -> None:
    """The work pool `name` with its base job template, and the secrets that the template refers to."""
    for block, variable in job_templates.secrets(template).items():
        blocks.secret(block, os.environ[variable], changes)
    body = {"base_job_template": template, "description": DESCRIPTION}
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.request("POST", "/work_pools/", json={"name": name, "type": pool_type, **body})
        changes.note("created", f"work pool {name} ({pool_type})")
        return
    if pool.type != pool_type:
        raise InputError(
            f"the Prefect server has a work pool {name} of type {pool.type}; delete it, or rename it"
        )
    if pool.base_job_template != template or pool.description != DESCRIPTION:
        client.request("PATCH", "/work_pools/{name}", path_params={"name": name}, json=body)
        changes.note("changed", f"work pool {name}")


def apply_slot(client: SyncPrefectClient, changes: Changes) -> str:
    """The id of the limit of one run at a time, which all exclusive deployments share.

    A limit of a deployment's own would count its own runs only, and nightly would train beside retrain.
    """
    try:
        limit = client.read_global_concurrency_limit_by_name(SLOT)
    except ObjectNotFound:
        body = {"name": SLOT, "limit": 1, "active": True, "slot_decay_per_second": 0}
        changes.note("created", f"concurrency limit {SLOT}: one run at a time")
        return str(client.request("POST", "/v2/concurrency_limits/", json=body).json()["id"])
    if limit.limit != 1 or not limit.active:
        body = {"limit": 1, "active": True}
        client.request(
            "PATCH", "/v2/concurrency_limits/{id_or_name}", path_params={"id_or_name": SLOT}, json=body
        )
        changes.note("changed", f"concurrency limit {SLOT}: one run at a time")
    return str(limit.id)


def apply_deployments(
    client: SyncPrefectClient,
    deployments: Iterable[tuple[Deployment, ParameterSchema]],
    overlap: str,
    pool_type: PoolType,
    changes: Changes,
) -> dict[str, str]:
    """Deployment -> its id. A schedule that somebody paused on the server stays paused."""
    slot = apply_slot(client, changes)
    ids = {}
    for deployment, schema in deployments:
        flow_id = client.create_flow_from_name(deployment.flow)
        body = _body(deployment, schema, slot, overlap, pool_type)
        existing = _read(client, deployment)
        if existing and not _differs(existing, body):
            ids[deployment.name] = existing["id"]
            continue
        if existing:
            for schedule, old in zip(body["schedules"], existing["schedules"], strict=False):
                schedule["active"] = old["active"]
        named = {"name": deployment.name, "flow_id": str(flow_id), **body}
        ids[deployment.name] = client.request("POST", "/deployments/", json=named).json()["id"]
        verb = "changed" if existing else "created"
        changes.note(verb, f"deployment {deployment.flow}/{deployment.name}")
    return ids


def _read(client: SyncPrefectClient, deployment: Deployment) -> dict[str, Any] | None:
    names = {"flow_name": deployment.flow, "deployment_name": deployment.name}
    try:
        response = client.request("GET", "/deployments/name/{flow_name}/{deployment_name}", path_params=names)
    except ObjectNotFound:
        return None
    except PrefectHTTPStatusError as error:
        if error.response.status_code == 404:
            return None
        raise
    found: dict[str, Any] = response.json()
    return found


def _body(
    deployment: Deployment, schema: ParameterSchema, slot: str, overlap: str, pool_type: PoolType
) -> dict[str, Any]:
    schedule = {"cron": deployment.cron, "timezone": deployment.timezone, "day_or": True}
    options = {"collision_strategy": COLLISION[overlap].value, "grace_period_seconds": GRACE}
    return {
        "description": deployment.description,
        "entrypoint": deployment.entrypoint,
        "parameters": deployment.parameters,
        "parameter_openapi_schema": schema.model_dump(mode="json"),
        "enforce_parameter_schema": True,
        "tags": ["hpt"],
        "work_pool_name": deployment.pool or pool_name(pool_type),
        "schedules": [{"schedule": schedule, "active": True}] if deployment.cron else [],
        "global_concurrency_limit_id": slot if deployment.exclusive else None,
        "concurrency_options": options if deployment.exclusive else None,
    }


def _differs(existing: dict[str, Any], body: dict[str, Any]) -> bool:
    limit = existing["global_concurrency_limit"]
    seen = existing | {
        "global_concurrency_limit_id": limit and limit["id"],
        "schedules": [schedule["schedule"] for schedule in existing["schedules"]],
    }
    wanted = body | {"schedules": [schedule["schedule"] for schedule in body["schedules"]]}
    return any(seen[key] != value for key, value in wanted.items())
