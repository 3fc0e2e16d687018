"""What the Prefect server itself does: end runs whose process is gone, send alerts, start retraining.

A process that was killed sends nothing, so only the server can tell. Every automation matches the flows of
this project by name and leaves other runs alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter
from prefect.client.orchestration import SyncPrefectClient

from pipelines.deployment import alerts
from pipelines.deployment.changes import Changes
from pipelines.deployment.specification import FLOWS, INBOX_EVENT, INBOX_RESOURCE, pool_name
from pipelines.params import Params
from pipelines.params.sections import AlertsConfig, ScheduleConfig

PREFIX = "hpt: "
"""Start of the name of every automation of this project."""
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
DEBOUNCE_S = 60
"""Seconds in which several files that arrive in an inbox start one run."""


def of_params(params: Params, ids: dict[str, str], webhook: str | None, ui: str) -> list[dict[str, Any]]:
    """The automations, as the server's API takes them.

    ids: deployment -> its id. webhook: id of the block of the alerts; None: nothing is sent. ui: address of
    the server's pages.
    """
    automations = [*_crashes(params.alerts), _retrain(ids["retrain"])]
    if webhook is not None:
        automations += _alerts(params, ids["nightly"], webhook, ui)
    return automations


def apply(client: SyncPrefectClient, automations: list[dict[str, Any]], changes: Changes) -> None:
    """Create, update and remove automations until those of this project are `automations`.

    One that somebody disabled on the server stays disabled.
    """
    existing = {a["name"]: a for a in _read(client) if a["name"].startswith(PREFIX)}
    for automation in automations:
        name = automation["name"]
        found = existing.pop(name, None)
        if found is None:
            client.request("POST", "/automations/", json=automation)
            changes.note("created", f"automation {name}")
        elif not _includes(found, automation):
            body = automation | {"enabled": found["enabled"]}
            client.request("PUT", "/automations/{id}", path_params={"id": found["id"]}, json=body)
            changes.note("changed", f"automation {name}")
    for name, automation in existing.items():
        client.request("DELETE", "/automations/{id}", path_params={"id": automation["id"]})
        changes.note("removed", f"automation {name}")


def _read(client: SyncPrefectClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := client.request(
        "POST", "/automations/filter", json={"limit": 200, "offset": len(found)}
    ).json():
        found += page
    return found


def _includes(found: Any, wanted: Any) -> bool:
    """Whether the server's answer `found` says what `wanted` says; it adds ids and defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _includes(found.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        if all(isinstance(value, str) for value in [*wanted, *found]):
            return sorted(wanted) == sorted(found)
        return len(wanted) == len(found) and all(map(_includes, found, wanted))
    return bool(found == wanted)


def _crashes(config: AlertsConfig) -> list[dict[str, Any]]:
    def become(state: str, message: str) -> list[dict[str, Any]]:
        # Never by force: a run that has ended keeps its state, should its last event have been lost.
        change = {"state": state, "message": message, "force": False}
        return [{"type": "change-flow-run-state", **change}]

    silent = (
        f"no heartbeat for {config.crashed_after_s} s: the process of this run, or its machine, is gone. "
        "The next run goes on from checkpoints/."
    )
    never = f"a worker accepted this run, and it did not start within {config.start_limit_s} s"
    return [
        {
            "name": f"{PREFIX}no heartbeat",
            "description": "Ends a run whose process is gone, so that the next one can start.",
            "trigger": _absence(
                # The event Running covers a kill before the first heartbeat.
                after=[HEARTBEAT, f"{RUN}Running"],
                expect=ANY,
                within=config.crashed_after_s,
            ),
            "actions": become("CRASHED", silent),
        },
        {
            "name": f"{PREFIX}not started",
            "description": "Ends a run that a worker accepted and that never started.",
            "trigger": _absence(after=ACCEPTED, expect=ANY, within=config.start_limit_s),
            "actions": become("CRASHED", never),
        },
        {
            "name": f"{PREFIX}cancelled and gone",
            "description": "Ends a run that is being cancelled and whose process no longer answers.",
            "trigger": _absence(after=[f"{RUN}Cancelling"], expect=ENDED, within=config.crashed_after_s),
            "actions": become("CANCELLED", "cancelled; its process did not confirm it"),
        },
    ]


def _retrain(deployment: str) -> dict[str, Any]:
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": f"{INBOX_RESOURCE}*"},
        "expect": [INBOX_EVENT],
        "threshold": 1,
        "within": float(DEBOUNCE_S),
    }
    action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment}
    return {
        "name": f"{PREFIX}retrain on new files",
        "description": "Runs the deployment retrain when an inbox has received files.",
        "trigger": trigger,
        "actions": [action],
    }


def _alerts(params: Params, nightly: str, webhook: str, ui: str) -> list[dict[str, Any]]:
    config = params.alerts
    missed_h = longest_pause_h(params.schedule) + config.missed_night_h

    def alert(of: str, description: str, trigger: dict[str, Any], text: str) -> dict[str, Any]:
        send = {"type": "call-webhook", "block_document_id": webhook, "payload": alerts.payload(text)}
        return {
            "name": f"{PREFIX}alert of {of}",
            "description": description,
            "trigger": trigger,
            "actions": [send],
        }

    return [
        alert(
            "a failed or crashed run",
            "Sends run, state, reason and address of a run that failed or crashed.",
            _failed_or_crashed(),
            alerts.ended(ui),
        ),
        alert(
            "a run that no worker takes",
            "Sends an alert for a run that is due and that no worker has accepted.",
            _absence(after=[f"{RUN}Late"], expect=ANY, within=config.late_after_s),
            alerts.late(ui, config.late_after_s),
        ),
        alert(
            "a missed night",
            "Sends an alert if no night has completed since the last one was due.",
            _no_completion_of(nightly, missed_h * 3600),
            alerts.missed(ui, nightly, missed_h),
        ),
        alert(
            "a pool without a worker",
            "Sends an alert when the last worker of the pool is gone.",
            _pool_not_ready(),
            alerts.no_worker(ui),
        ),
    ]


def _failed_or_crashed() -> dict[str, Any]:
    return {
        "type": "event",
        "posture": "Reactive",
        **_ours(),
        "match": {"prefect.resource.id": f"{RUN}*", "prefect.state-type": ["FAILED", "CRASHED"]},
        "expect": ANY,
        # A server on SQLite may handle an event again; one alert per run and hour is sent.
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 3600.0,
    }


def _no_completion_of(deployment: str, within: float) -> dict[str, Any]:
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


def _pool_not_ready() -> dict[str, Any]:
    return {
        "type": "event",
        "posture": "Reactive",
        "match": {
            "prefect.resource.id": "prefect.work-pool.*",
            "prefect.resource.name": f"{pool_name('process')}*",
        },
        "expect": ["prefect.work-pool.not-ready"],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 3600.0,
    }


def _ours() -> dict[str, Any]:
    """The part of a trigger that matches the runs of this project."""
    return {
        "match": {"prefect.resource.id": f"{RUN}*"},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
    }


def _absence(after: list[str], expect: list[str], within: float) -> dict[str, Any]:
    """A trigger for each run: after one of the events `after`, none of `expect` within `within` seconds."""
    return {
        "type": "event",
        "posture": "Proactive",
        **_ours(),
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
