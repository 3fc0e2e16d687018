"""The part of Prefect's REST API that the tests use."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from waiting import wait_for

BUSY = 30
"""Seconds for which the server may refuse a request because its database is locked."""


@dataclass(frozen=True)
class PrefectApi:
    """The API at `url`, which ends with /api."""

    url: str
    user: str = ""
    """USER:PASSWORD, where the server asks for it."""
    csrf: bool = False
    """Whether the server takes a request that changes something only with a token that it gave."""

    def get(self, path: str) -> Any:
        return self._send(urllib.request.Request(f"{self.url}/{path}"))

    def post(self, path: str, body: Any, method: str = "POST") -> Any:
        headers = {"Content-Type": "application/json"}
        if self.csrf:
            token = self.get("csrf-token?client=tests")["token"]
            headers |= {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "tests"}
        data = json.dumps(body).encode()
        return self._send(urllib.request.Request(f"{self.url}/{path}", data, headers, method=method))

    def start(self, deployment: str) -> str:
        """Id of a new run of FLOW/NAME."""
        found = self.get(f"deployments/name/{deployment}")
        body = {"state": {"type": "SCHEDULED"}}
        run = wait_for(lambda: self.post(f"deployments/{found['id']}/create_flow_run", body))
        return str(run["id"])

    def cancel(self, run: str) -> None:
        """What the button in Prefect's page does."""
        self.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.get(f"flow_runs/{run}")["state"]
        return state

    def wait(self, run: str, *names: str) -> dict[str, Any]:
        """The state of a run as soon as its name is one of `names`."""
        state: dict[str, Any] = wait_for(
            lambda: (state := self.state(run))["name"] in names and state, seen=lambda: self.state(run)
        )
        return state

    def _send(self, request: urllib.request.Request) -> Any:
        if self.user:
            request.add_header("Authorization", f"Basic {base64.b64encode(self.user.encode()).decode()}")
        deadline = time.monotonic() + BUSY
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    text = response.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                # The server's answer while one of its services writes to the SQLite file.
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
