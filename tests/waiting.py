"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg2


def wait_for(
    condition: Callable[[], Any], seconds: float = 240, seen: Callable[[], object] = lambda: ""
) -> Any:
    """The value of `condition` as soon as it is true; a server that is asked may be away meanwhile.

    seconds: the default is for a server that starts, or a stage that begins, on a busy machine.
    seen: what the failure shows if the condition does not come true.
    """
    deadline, away = time.monotonic() + seconds, ""
    while True:
        try:
            if value := condition():
                return value
        except (OSError, psycopg2.OperationalError) as error:
            away = f"; {error!r}"
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {seen()}{away}"
        time.sleep(0.1)
