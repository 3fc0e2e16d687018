"""The event that says that an inbox has received files, which starts the deployment `retrain`."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.events import emit_event
from prefect.events.worker import EventsWorker

from pipelines.deployment.specification import INBOX_EVENT, INBOX_RESOURCE

PATIENCE = 10.0
"""Seconds within which the Prefect server must take the events."""


def emit_received(taken: Mapping[str, int]) -> None:
    """Send an event for each source with files that were taken for it (source -> their number)."""
    for source, files in taken.items():
        resource = {"prefect.resource.id": f"{INBOX_RESOURCE}{source}", "prefect.resource.name": source}
        emit_event(INBOX_EVENT, resource, payload={"files": files})
    if taken:
        # A process that ends at once would take the events with it.
        EventsWorker.drain_all(timeout=PATIENCE)
