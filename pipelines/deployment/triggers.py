"""What the server waits for before it acts: an event, or that none comes in time.

Every trigger matches the flows of this project by name and leaves other runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

from pipelines.deployment.specification import FLOWS, INBOX_EVENT, INBOX_RESOURCE, STAGE_FLOW, pool_name
from pipelines.params.sections import ScheduleConfig

DEPLOYED = "hpt.schedule.deployed"
"""`hpt deploy` sends this event, from which the wait for the first night counts."""
RUN = "prefect.flow-run."
COMPLETED = [f"{RUN}Completed", f"{RUN}Unchanged"]
"""Events are named after a state's name, and a flow that had nothing to do ends as Unchanged."""
ENDED = [*COMPLETED, f"{RUN}Failed", f"{RUN}Cancelled", f"{RUN}Crashed"]
ACCEPTED = [f"{RUN}{state}" for state in ("Pending", "Submitting", "InfrastructurePending")]
"""Between a worker's acceptance and the run's start."""
ANY = [f"{RUN}*"]
HEARTBEAT = f"{RUN}heartbeat"
WHOLE = [flow for flow in FLOWS if flow != STAGE_FLOW]
"""Flows that nothing else waits for."""
DEBOUNCE_S = 60
"""Seconds in which several files that arrive in an inbox start one run."""


def arrival() -> dict[str, Any]:
    """Files have arrived in an inbox."""
    return {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": f"{INBOX_RESOURCE}*"},
        "expect": [INBOX_EVENT],
        "threshold": 1,
        "within": float(DEBOUNCE_S),
    }


def failed_or_crashed() -> dict[str, Any]:
    """Not of a stage on a pool, whose flow fails with its reason."""
    return {
        "type": "event",
        "posture": "Reactive",
        **_ours(WHOLE),
        "match": {"prefect.resource.id": f"{RUN}*", "prefect.state-type": ["FAILED", "CRASHED"]},
        "expect": ANY,
        # A server on SQLite may handle an event again; one alert per run and hour is sent.
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 3600.0,
    }


def no_completion_of(deployment: str, within: float) -> dict[str, Any]:
    return {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": [f"{RUN}*", "hpt.schedule"]},
        "match_related": {
            "prefect.resource.role": "deployment",
            "prefect.resource.id": f"prefect.deployment.{deployment}",
        },
        # Each completed night begins the wait for the next one.
        "after": [*COMPLETED, DEPLOYED],
        "expect": COMPLETED,
        "threshold": 1,
        "within": within,
    }


def pool_not_ready(pools: Sequence[str]) -> dict[str, Any]:
    """A pool of the flow, or one of `pools`, has no worker."""
    return {
        "type": "event",
        "posture": "Reactive",
        "match": {
            "prefect.resource.id": "prefect.work-pool.*",
            "prefect.resource.name": [f"{pool_name('process')}*", *pools],
        },
        "expect": ["prefect.work-pool.not-ready"],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 3600.0,
    }


def not_taken(within: float) -> dict[str, Any]:
    """No worker accepts a run that is due. A stage may wait on its pool for the one before it, and its flow
    says so."""
    return absence([f"{RUN}Late"], ANY, within, WHOLE)


def _ours(flows: Sequence[str]) -> dict[str, Any]:
    """The part of a trigger that matches the runs of these flows."""
    return {
        "match": {"prefect.resource.id": f"{RUN}*"},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)},
    }


def absence(
    after: list[str], expect: list[str], within: float, flows: Sequence[str] = tuple(FLOWS)
) -> dict[str, Any]:
    """A trigger for each run: after one of the events `after`, none of `expect` within `within` seconds."""
    return {
        "type": "event",
        "posture": "Proactive",
        **_ours(flows),
        "after": after,
        "expect": expect,
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": float(within),
    }


def longest_pause_h(schedule: ScheduleConfig) -> float:
    """Hours of the longest pause between two runs of `schedule` within the next year and a bit."""
    start = datetime.now(ZoneInfo(schedule.timezone))
    times = croniter(schedule.cron, start)
    due: list[datetime] = [times.get_next(datetime)]
    while due[-1] < start + timedelta(days=400) and len(due) < 10_000:
        due.append(times.get_next(datetime))
    return max((b - a) / timedelta(hours=1) for a, b in pairwise(due))
