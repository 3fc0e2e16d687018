"""Environment variables of the Prefect and MLflow servers that this project starts, and who may reach them.

A page of another origin can call neither server from somebody's browser, and no server listens beyond
loopback without a password. A variable that the user has set wins.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from hpt_core.errors import InputError

PREFECT_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"
"""The server's `user:password`; `PREFECT_API_AUTH_STRING` is what its clients send."""


def prefect_variables(host: str, port: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for `prefect server start --host HOST --port PORT`.

    Its own interface goes on working: the page sends a CSRF token, as Prefect's clients do. Raises InputError
    where the server would answer other machines without a password.
    """
    given = os.environ if environment is None else environment
    if not is_loopback(host) and not given.get(PREFECT_PASSWORD):
        raise InputError(
            f"{host} is reached from other machines, and whoever reaches a Prefect server runs commands; "
            f"set {PREFECT_PASSWORD} and PREFECT_API_AUTH_STRING to user:password, or bind 127.0.0.1"
        )
    variables = {
        "PREFECT_SERVER_UI_API_URL": f"http://{host}:{port}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(_origins(host, port)),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # An event that is not written in time is lost, with its alert. Prefect gives the lock of SQLite 10 s.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    }
    if password := given.get(PREFECT_PASSWORD):
        variables["PREFECT_API_AUTH_STRING"] = password
    return {name: given.get(name) or value for name, value in variables.items()}


def mlflow_variables(host: str, port: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for `mlflow server --host HOST --port PORT`: the Host headers and origins it answers.

    MLflow's own default refuses every host name but localhost, with status 403.
    """
    given = os.environ if environment is None else environment
    hosts = [f"{name}:{port}" for name in _names(host)]
    variables = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(_origins(host, port)),
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
    }
    return {name: given.get(name) or value for name, value in variables.items()}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _origins(host: str, port: int) -> list[str]:
    """The origins of a server's own pages."""
    return [f"http://{name}:{port}" for name in _names(host)]


def _names(host: str) -> list[str]:
    """The names under which a browser reaches a server that listens on `host`."""
    loopback = ["127.0.0.1", "localhost"]
    if is_loopback(host) or host in ("0.0.0.0", "::"):
        return loopback
    return [host, *loopback]
