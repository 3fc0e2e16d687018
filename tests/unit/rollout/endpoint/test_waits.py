"""The client waits as long as the server asks, and keeps to the rate of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from six_requests import BUSY, PROBLEMS, SAMPLING, SEEDS

from hpt_core.errors import EngineError
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.reply import retry_after


class Clock:
    """A clock that moves only when something sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize("code", [429, 503])
def test_no_request_starts_before_the_wait_of_the_server_is_over(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int
) -> None:
    clock, times = Clock(), []

    def answer(request: Any) -> tuple[str, str]:
        times.append(clock.time)
        return "2", "stop"

    server.answer = answer
    server.faults = {PROBLEMS[1]: [faults.status(code, BUSY, Retry_After="7")]}
    sampler = endpoint(concurrency=1)
    sampler.rate_limiter = RateLimiter(None, clock.now, clock.sleep)
    sampler.generate(PROBLEMS, SEEDS, SAMPLING)
    assert times == [0, 7, 7, 7, 7, 7]


def test_the_rate_of_requests_is_limited() -> None:
    clock = Clock()
    limiter, starts = RateLimiter(30, clock.now, clock.sleep), []

    async def run() -> None:
        for pause in (0, 0, 5, 0):
            await limiter.acquire()
            starts.append(clock.time)
            limiter.pause(pause)

    asyncio.run(run())
    assert starts == [0, 2, 4, 9]


def test_a_long_wait_stops_the_run(server: Any, faults: Any, endpoint: Callable[..., Endpoint]) -> None:
    server.faults = {PROBLEMS[0]: [faults.status(429, BUSY, Retry_After="7200")]}
    with pytest.raises(
        EngineError,
        match=r"Rate limit reached; the server asks for a wait of 7200 s\. .*Wait as long as it asks; then",
    ):
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (None, 0, 0),
        ("3", 3, 3),
        ("0.5", 0.5, 0.5),
        ("-4", 0, 0),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("soon", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 1e9, 1e10),
        ("Fri, 31 Dec 2199 23:59:59 -0000", 1e9, 1e10),
    ],
)
def test_retry_after(header: str | None, least: float, most: float) -> None:
    assert least <= retry_after(header) <= most
