"""A run of a worker whose slot the server has lost: Prefect raises an exception in the thread of the flow."""

from __future__ import annotations

import threading
import time

from prefect._internal.concurrency.cancellation import WatcherThreadCancelScope
from prefect.concurrency._leases import _handle_lease_renewal_failure

from pipelines import flow


def test_the_work_goes_on() -> None:
    finished, ended = threading.Event(), threading.Event()
    scopes: list[WatcherThreadCancelScope] = []

    def engine() -> None:
        with WatcherThreadCancelScope() as scope:
            scopes.append(scope)
            flow._wait(finished)
        ended.set()

    thread = threading.Thread(target=engine)
    thread.start()
    while not scopes:
        time.sleep(0.01)
    time.sleep(0.2)
    # What Prefect calls where a lease cannot be renewed.
    _handle_lease_renewal_failure(ConnectionError("away"), "lease", True, False, scopes[0])  # type: ignore[arg-type]
    assert not ended.wait(3), "the flow ended before its work"
    finished.set()
    assert ended.wait(5)
    thread.join()
