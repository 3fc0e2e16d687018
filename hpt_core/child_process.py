"""What a process does that must not outlive the one that started it."""

from __future__ import annotations

import os
import threading
import time

POLL = 0.5
"""Seconds between two looks at the parent."""


def exit_after_parent(parent: int | None = None) -> None:
    """From now on, this process ends soon after its parent, however that ends; `kill -9` runs no handler.

    `parent` is the parent's pid, for a process that may begin to run when its parent has ended already.
    """
    parent = parent or os.getppid()
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os._exit(1)
