"""How fast a server is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimiter:
    """When the next request may start: so many a minute, and none while the server asks to wait."""

    def __init__(
        self,
        per_minute: float | None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.gap = 60 / per_minute if per_minute else 0.0
        self.now, self.sleep, self.next = now, sleep, now()

    async def acquire(self) -> None:
        """Return when a request may start."""
        while (left := self.next - self.now()) > 0:
            await self.sleep(left)
        self.next = self.now() + self.gap

    def pause(self, seconds: float) -> None:
        """No request starts for so long."""
        self.next = max(self.next, self.now() + seconds)
