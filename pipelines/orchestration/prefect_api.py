"""Whether a Prefect server answers, asked without importing Prefect, which takes seconds."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

URL = "PREFECT_API_URL"
ASK_LIMIT = 5.0
"""Seconds that a server may take to say that it is there."""
ASK_INTERVAL = 1.0


def answers(url: str) -> bool:
    """Whether the Prefect API at `url` answers that it is healthy."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ASK_LIMIT):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def answers_within(url: str, seconds: float) -> bool:
    """Whether it answers now or within the next `seconds`."""
    deadline = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(ASK_INTERVAL)
    return True
