"""What the Prefect server itself does: end runs whose process is gone, send alerts, start retraining.

A process that was killed sends nothing, so only the server can tell. Every automation matches the flows of
this project by name and leaves other runs alone.
"""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from pipelines.deployment import alerts, triggers
from pipelines.deployment.changes import Changes
from pipelines.deployment.specification import stage_pools
from pipelines.params import Params
from pipelines.params.sections import AlertsConfig

PREFIX = "hpt: "
"""Start of the name of every automation of this project."""


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
    ours = [automation for automation in _read(client) if automation["name"].startswith(PREFIX)]
    existing = {automation["name"]: automation for automation in ours}
    # A request that was repeated because its answer was lost has made a second one of the same name.
    superfluous = [automation for automation in ours if automation is not existing[automation["name"]]]
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
    for automation in [*existing.values(), *superfluous]:
        client.request("DELETE", "/automations/{id}", path_params={"id": automation["id"]})
        changes.note("removed", f"automation {automation['name']}")


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
            "trigger": triggers.absence(
                # The event Running covers a kill before the first heartbeat.
                after=[triggers.HEARTBEAT, f"{triggers.RUN}Running"],
                expect=triggers.ANY,
                within=config.crashed_after_s,
            ),
            "actions": become("CRASHED", silent),
        },
        {
            "name": f"{PREFIX}not started",
            "description": "Ends a run that a worker accepted and that never started.",
            "trigger": triggers.absence(
                after=triggers.ACCEPTED, expect=triggers.ANY, within=config.start_limit_s
            ),
            "actions": become("CRASHED", never),
        },
        {
            "name": f"{PREFIX}cancelled and gone",
            "description": "Ends a run that is being cancelled and whose process no longer answers.",
            "trigger": triggers.absence(
                after=[f"{triggers.RUN}Cancelling"], expect=triggers.ENDED, within=config.crashed_after_s
            ),
            "actions": become("CANCELLED", "cancelled; its process did not confirm it"),
        },
    ]


def _retrain(deployment: str) -> dict[str, Any]:
    action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment}
    return {
        "name": f"{PREFIX}retrain on new files",
        "description": "Runs the deployment retrain when an inbox has received files.",
        "trigger": triggers.arrival(),
        "actions": [action],
    }


def _alerts(params: Params, nightly: str, webhook: str, ui: str) -> list[dict[str, Any]]:
    config = params.alerts
    missed_h = triggers.longest_pause_h(params.schedule) + config.missed_night_h

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
            triggers.failed_or_crashed(),
            alerts.ended(ui),
        ),
        alert(
            "a run that no worker takes",
            "Sends an alert for a run that is due and that no worker has accepted.",
            triggers.not_taken(config.late_after_s),
            alerts.late(ui, config.late_after_s),
        ),
        alert(
            "a missed night",
            "Sends an alert if no night has completed since the last one was due.",
            triggers.no_completion_of(nightly, missed_h * 3600),
            alerts.missed(ui, nightly, missed_h),
        ),
        alert(
            "a pool without a worker",
            "Sends an alert when the last worker of the pool is gone.",
            triggers.pool_not_ready(stage_pools(params)),
            alerts.no_worker(ui),
        ),
    ]
