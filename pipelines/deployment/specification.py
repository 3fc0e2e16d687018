"""The deployments, made from params.yaml, as values; `server` and `prefect_file` write them down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from prefect.client.schemas.objects import ConcurrencyLimitStrategy

from pipelines.params import Params
from pipelines.params.sections import FLOW_POOLS

PoolType = Literal["process", "docker", "kubernetes"]
POOL = FLOW_POOLS[0]
"""Name of the process work pool; the others are called hpt-docker and hpt-kubernetes."""
SLOT = "hpt-training"
"""The concurrency limit of one that all deployments which write into the checkout share."""
GRACE = 3600
"""Seconds until a slot is free whose run neither started nor was declared crashed. It only has to outlast
`alerts.start_limit_s`: a slot that frees itself while its run is still thought alive would be freed twice."""
INBOX_EVENT, INBOX_RESOURCE = "hpt.inbox.received", "hpt.inbox."
"""The event that says that an inbox has new files, and the start of the name of its resource, which ends with
the source of the trajectories."""

FLOWS = {
    "hpt": "pipelines.flow.hpt",
    "hpt-evaluation": "pipelines.flow_parts.evaluation",
    "hpt-promotion": "pipelines.flow_parts.promotion",
    "hpt-inbox": "pipelines.flow_parts.inbox",
    "hpt-retention": "pipelines.flow_parts.retention",
    "hpt-stage": "pipelines.flow_parts.one_stage",
}
"""Name of a flow on the Prefect server -> where it is. Automations match the runs of these flows, and workers
run no other."""
STAGE_FLOW = "hpt-stage"
"""The flow of one stage. The workers of the pools of `pools` run no other, and no other worker runs it."""
STAGE_OPTION = "--stage"
"""The option of `pipelines.cli.flow_run` that makes it run that flow alone."""

COLLISION = {"cancel": ConcurrencyLimitStrategy.CANCEL_NEW, "queue": ConcurrencyLimitStrategy.ENQUEUE}


@dataclass(frozen=True)
class Deployment:
    """One deployment of a flow of this project."""

    name: str
    flow: str
    """The flow's name on the Prefect server."""
    description: str
    parameters: dict[str, Any] = field(default_factory=dict)
    cron: str | None = None
    timezone: str = "UTC"
    on_inbox: bool = False
    """Whether new files in an inbox start it."""
    exclusive: bool = True
    """Whether it takes the slot, so that it never runs beside a training."""
    pool: str | None = None
    """Its work pool; None: that of the flow."""

    @property
    def entrypoint(self) -> str:
        return FLOWS[self.flow]


def pool_name(pool_type: PoolType) -> str:
    """The work pool of a type of infrastructure."""
    return POOL if pool_type == "process" else f"{POOL}-{pool_type}"


def stage_deployment(pool: str) -> str:
    """Name of the deployment that runs a stage on `pool`."""
    return f"stage-{pool}"


def deployments(params: Params) -> list[Deployment]:
    """All deployments of the project; that of the inbox only where params.yaml has one, and one for each pool
    of stages."""
    of_inbox = Deployment(
        "inbox",
        "hpt-inbox",
        "Takes the new files of the inbox every five minutes, between runs; retrain then runs.",
        cron="*/5 * * * *",
        timezone=params.schedule.timezone,
        exclusive=False,
    )
    return [*_always(params), *([of_inbox] if params.inbox else []), *map(_of_stages, stage_pools(params))]


def stage_pools(params: Params) -> list[str]:
    """The pools that stages run on, each once."""
    return sorted(set(params.pools.values()))


def _of_stages(pool: str) -> Deployment:
    return Deployment(
        stage_deployment(pool),
        STAGE_FLOW,
        f"Runs one stage of the flow on the pool {pool}. The flow starts it, as `pools` of params.yaml says.",
        # The flow that waits for it has the slot.
        exclusive=False,
        pool=pool,
    )


def _always(params: Params) -> list[Deployment]:
    schedule = params.schedule
    repeats = {"workers": schedule.workers, "retries": schedule.retries}
    return [
        Deployment(
            "nightly",
            "hpt",
            "Curates, samples, trains and evaluates what is out of date, on the schedule of params.yaml. "
            "Publishes, registers and pushes the results.",
            repeats,
            cron=schedule.cron,
            timezone=schedule.timezone,
        ),
        Deployment(
            "retrain",
            "hpt",
            "The same as nightly, as soon as an inbox has received files with new trajectories.",
            repeats,
            on_inbox=True,
        ),
        Deployment(
            "evaluation",
            "hpt-evaluation",
            "Evaluates the policies that are there and compares them. It trains nothing.",
            repeats,
        ),
        Deployment(
            "promotion",
            "hpt-promotion",
            "Publishes what MLflow lacks, sets the candidate, and makes it champion if it passes the "
            "promotion gate. It computes nothing.",
        ),
        Deployment(
            "retention",
            "hpt-retention",
            "Removes old runs of this project from Prefect and deleted runs from MLflow, once a week.",
            cron="30 5 * * 0",
            timezone=schedule.timezone,
            exclusive=False,
        ),
    ]
