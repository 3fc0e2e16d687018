"""What a process does that must not outlive the one that started it."""

from __future__ import annotations

import os
import threading
import time

POLL = 0.5
"""Seconds between two looks at the parent."""


def exit_after_parent() -> None:
    """From now on, this process ends soon after its parent, however that ends; `kill -9` runs no handler."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)
