"""A limit on the rate of requests to a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimiter:
    """Decides when the next request may start: at most so many a minute, and none during a pause."""

    def __init__(
        self,
        per_minute: float | None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`per_minute` None means no limit."""
        self.interval = 60 / per_minute if per_minute else 0.0
        self.now, self.sleep, self.next_start = now, sleep, now()

    async def acquire(self) -> None:
        """Return when a request may start."""
        while (remaining := self.next_start - self.now()) > 0:
            await self.sleep(remaining)
        self.next_start = self.now() + self.interval

    def pause(self, seconds: float) -> None:
        """Start no request for so many seconds."""
        self.next_start = max(self.next_start, self.now() + seconds)
