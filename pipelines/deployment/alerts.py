"""The texts of the alerts, as templates that the Prefect server fills in, and where they are sent.

The body is {"text": ...}, which Slack, Mattermost and most chat systems take. The address is a secret: it
comes from HPT_ALERT_WEBHOOK and is kept encrypted in a block of the server.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import urllib.request
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL

from hpt_core.errors import InputError
from pipelines.deployment import blocks
from pipelines.deployment.changes import Changes
from pipelines.environment import SERVER_OF_RUN

logger = logging.getLogger(__name__)

VARIABLE = "HPT_ALERT_WEBHOOK"
BLOCK = "hpt-alerts"
LONGEST = 1500
"""Characters of a run's message that an alert repeats; Slack cuts a text off at 4,000."""
SEND_LIMIT = 10
"""Seconds that sending may take."""


def webhook(changes: Changes) -> str | None:
    """Id of the server's block that sends alerts; None where there is none and VARIABLE is not set."""
    address = os.environ.get(VARIABLE) or None
    if address and not address.startswith(("http://", "https://")):
        raise InputError(f"{VARIABLE} is no http address; give the address of an incoming webhook")
    return blocks.webhook(BLOCK, address, changes)


def payload(text: str) -> str:
    """The body of the request; `text` is an expression of Jinja."""
    return '{"text": {{ (' + text + ") | string | tojson }}}"


def ended(ui: str) -> str:
    """Run, state, reason (for a failure the failing stage with its last lines) and address."""
    return _joined(
        '"HPT: " ~ flow.name ~ " run " ~ flow_run.name ~ " " ~ flow_run.state.name | upper',
        f'flow_run.state.message | default("no reason is known", true) | truncate({LONGEST}, true)',
        _address(ui),
    )


def late(ui: str, seconds: int) -> str:
    """Which run no worker has accepted."""
    return _joined(
        f'"HPT: no worker has taken " ~ flow.name ~ " run " ~ flow_run.name ~ " for {seconds} s"',
        '"Is a worker running? hpt stack status"',
        _address(ui),
    )


def missed(ui: str, deployment: str, hours: float) -> str:
    """That no night has completed."""
    return _joined(
        f'"HPT: no nightly run has completed for {hours:g} hours"',
        f'"{ui}/deployments/deployment/{deployment}"',
    )


def no_worker(ui: str) -> str:
    """That nothing takes the runs of a pool."""
    return _joined(
        '"HPT: work pool " ~ event.resource.name ~ " has no worker; due runs wait"', f'"{ui}/work-pools"'
    )


def _address(ui: str) -> str:
    return f'"{ui}/runs/flow-run/" ~ flow_run.id'


def _joined(*lines: str) -> str:
    return ' ~ "\\n" ~ '.join(f"({line})" for line in lines)


def send_without_server(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of a flow that failed or crashed where no server stays to tell of it: `hpt run` from cron."""
    address = os.environ.get(VARIABLE)
    if not address or (PREFECT_API_URL.value() and SERVER_OF_RUN not in os.environ):
        return
    reason = (state.message or "no reason is known")[:LONGEST]
    what = f"HPT: {flow.name} run {flow_run.name} {(state.name or '').upper()}"
    text = f"{what}\n{reason}\non {socket.gethostname()}"
    body, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    try:
        urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=SEND_LIMIT).close()
    except (OSError, ValueError) as error:
        # The message of the error has the address, which is a secret.
        logger.warning("the alert of this run could not be sent: %s", type(error).__name__)
