"""Questions that show whether a server does its work: what is wrong with it, or None.

Each is given the time of the server's start, in seconds since the epoch.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition

TIMEOUT = 5
"""Seconds that a server may take to answer."""
SILENCE = timedelta(seconds=100)
"""A worker says every 30 s that it is alive; Prefect itself waits for three of these."""


def postgres(definition: Definition, secrets: Secrets, since: float) -> str | None:
    """Whether a client can log in and ask."""
    import psycopg2

    try:
        connection = psycopg2.connect(
            host=definition.host,
            port=definition["HPT_POSTGRES_PORT"],
            user=definition["HPT_USER"],
            password=secrets["HPT_POSTGRES_PASSWORD"],
            dbname="postgres",
            connect_timeout=TIMEOUT,
        )
    except psycopg2.OperationalError as error:
        return str(error).strip().splitlines()[0]
    connection.close()
    return None


def s3(definition: Definition, since: float) -> str | None:
    """Whether the gateway answers."""
    return _failure(lambda: _request(f"{definition.url('HPT_S3_PORT')}/healthz"))


def mlflow(definition: Definition, secrets: Secrets, since: float) -> str | None:
    """Whether a client can log in, and MLflow reach its database."""
    url = f"{definition.url('HPT_MLFLOW_PORT')}/api/2.0/mlflow/experiments/search"
    user = f"{definition['HPT_USER']}:{secrets['HPT_MLFLOW_PASSWORD']}"
    return _failure(lambda: _request(url, {"max_results": 1}, user))


def prefect(definition: Definition, since: float) -> str | None:
    """Whether the API answers and reaches its database."""
    return _failure(lambda: _request(f"{definition.url('HPT_PREFECT_PORT')}/api/ready"))


def worker(definition: Definition, secrets: Secrets, name: str, since: float) -> str | None:
    """Whether the Prefect server has heard from the worker of this name since it was started."""
    url = f"{definition.url('HPT_PREFECT_PORT')}/api/work_pools/{definition['HPT_WORK_POOL']}/workers/filter"
    user = f"{definition['HPT_USER']}:{secrets['HPT_PREFECT_PASSWORD']}"
    found: list[dict[str, Any]] = []
    failure = _failure(lambda: found.extend(_request(url, {}, user, _csrf_headers(definition, user))))
    if failure:
        return f"the Prefect server cannot say: {failure}"
    for row in found:
        if row["name"] == name:
            heard = datetime.fromisoformat(row["last_heartbeat_time"])
            return (
                None if datetime.now(UTC) - heard < SILENCE else f"not heard from since {heard:%H:%M:%S} UTC"
            )
    return "not known to the Prefect server"


def _csrf_headers(definition: Definition, user: str) -> dict[str, str]:
    """The headers without which Prefect refuses a POST."""
    client = str(uuid.uuid4())
    token = _request(f"{definition.url('HPT_PREFECT_PORT')}/api/csrf-token?client={client}", None, user)
    return {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": client}


def _failure(ask: Any) -> str | None:
    try:
        ask()
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except urllib.error.URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _request(
    url: str,
    body: dict[str, Any] | None = None,
    user: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The answer of a GET, or of a POST of `body`: a JSON value, or None without a user."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.add_header(name, value)
    if user is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    # A proxy of the environment is for the outside.
    with DIRECT.open(request, timeout=TIMEOUT) as response:
        text = response.read()
    return json.loads(text) if user is not None else None


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
