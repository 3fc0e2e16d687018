"""The connection to MLflow that an address names: a server, or a database that is written directly."""

from __future__ import annotations

import logging
import os

import mlflow
from mlflow import MlflowClient
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_TIMEOUT = 10
"""Seconds in which a database accepts a connection."""


def is_database(uri: str) -> bool:
    """Whether MLflow writes to a database itself, without a server."""
    return uri.partition(":")[0].partition("+")[0] in DATABASES


def connect(uri: str) -> MlflowClient:
    """A client of the tracking server or database; a database without MLflow's tables gets them."""
    # Alembic logs every migration of a new database.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What a request fails of is said once, by `tracking_errors`.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    _set_default(uri)
    return MlflowClient(uri, registry_uri=uri)


def _set_default(uri: str) -> None:
    """Registering a version reads its model through mlflow's default, whatever the URI of the client."""
    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if chosen is None:
        # The call sets the variable, which would then count as the user's choice.
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def try_database(uri: str) -> None:
    """Raise at once what MLflow would raise after two minutes of attempts to reach the database."""
    kind = make_url(uri).get_backend_name()
    options = {"connect_timeout": CONNECT_TIMEOUT} if kind in ("postgresql", "mysql") else {}
    engine = create_engine(uri, poolclass=NullPool, connect_args=options)
    try:
        inspect(engine)
    finally:
        engine.dispose()
