"""The client of a server that runs in the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import EndpointConfig
from hpt_core.rollout.endpoint.client import Endpoint


@pytest.fixture
def endpoint(server: Any, tmp_path: Path) -> Callable[..., Endpoint]:
    def make(**settings: Any) -> Endpoint:
        fields = {"url": server.url, "model": "big", "revision": "r1", "retries": 2, "timeout_s": 30.0}
        response_log = settings.pop("response_log", tmp_path / "response_log.jsonl")
        return Endpoint(EndpointConfig(**fields | settings), response_log, "teacher.endpoint", backoff=0.001)

    return make
