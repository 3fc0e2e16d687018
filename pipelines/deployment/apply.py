"""Everything that `hpt deploy` does on a Prefect server, in its order."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.utilities.callables import parameter_schema

from pipelines.deployment import alerts, automations, job_templates, server, triggers
from pipelines.deployment.changes import Changes
from pipelines.deployment.specification import Deployment, PoolType, pool_name, stage_pools
from pipelines.params import Params


def everything(
    root: Path, params: Params, flows: Sequence[tuple[Deployment, Callable[..., object]]], pool: PoolType
) -> tuple[Changes, bool]:
    """Bring the server to what params.yaml says; what changed, and whether alerts are sent.

    Raises InputError where no server answers or it has a work pool of another type.
    """
    changes = Changes()
    deployments = [(deployment, parameter_schema(flow)) for deployment, flow in flows]
    with server.connect() as client:
        server.apply_pool(client, pool_name(pool), pool, job_templates.read(root, pool), changes)
        for name in stage_pools(params):
            server.apply_pool(client, name, "process", job_templates.of_stages(root), changes)
        ids = server.apply_deployments(client, deployments, params.schedule.overlap, pool, changes)
        webhook = alerts.webhook(changes)
        automations.apply(client, automations.of_params(params, ids, webhook, pages()), changes)
        if changes.lines:
            client.request("POST", "/events", json=[deployed_event(ids["nightly"])])
    return changes, webhook is not None


def pages() -> str:
    """Address of the server's pages: PREFECT_UI_URL, else that of its API without its path."""
    api = os.environ["PREFECT_API_URL"].rstrip("/").removesuffix("/api")
    address = os.environ.get("PREFECT_UI_URL") or api
    return address.rstrip("/")


def deployed_event(nightly: str) -> dict[str, Any]:
    """The event from which the wait for the first night counts."""
    return {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": triggers.DEPLOYED,
        "resource": {"prefect.resource.id": "hpt.schedule", "prefect.resource.name": "nightly"},
        "related": [
            {"prefect.resource.id": f"prefect.deployment.{nightly}", "prefect.resource.role": "deployment"}
        ],
        "payload": {},
    }
