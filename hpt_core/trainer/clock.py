"""Where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds by phase: of the step under way, and of the whole run."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.total: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.last[name] = time.perf_counter() - start
        self.total[name] += self.last[name]
