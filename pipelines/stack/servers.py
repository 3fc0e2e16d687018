"""The servers of the stack, each after those that it needs."""

from __future__ import annotations

import signal
import socket
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import server_settings
from pipelines.stack import credentials, health, postgres, seaweedfs
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition
from pipelines.stack.server import INSTALL, Server


def servers(definition: Definition, secrets: Secrets) -> dict[str, Server]:
    """Name -> server, each after those that it needs."""
    made = (
        _postgres(definition, secrets),
        seaweedfs.server(definition, secrets),
        _prefect(definition, secrets),
        _mlflow(definition, secrets),
        _worker(definition, secrets),
    )
    return {server.name: server for server in made}


def check_installed(definition: Definition) -> None:
    """Raise InputError where a program or a package of a server is missing."""
    postgres.account()
    postgres.binary("postgres", definition.folder / "postgres")
    seaweedfs.binary()
    packages = {"psycopg2": "psycopg2-binary", "flask_wtf": "Flask-WTF", "asyncpg": "asyncpg"}
    if missing := [package for module, package in packages.items() if find_spec(module) is None]:
        raise InputError(f"{', '.join(missing)} is not installed: {INSTALL}")


def _postgres(definition: Definition, secrets: Secrets) -> Server:
    port, host = definition["HPT_POSTGRES_PORT"], definition["HPT_HOST"]

    def command() -> list[str]:
        data = postgres.prepare(definition, secrets["HPT_POSTGRES_PASSWORD"])
        settings = ("unix_socket_directories=", "log_min_error_statement=panic", "max_connections=200")
        return [
            *(postgres.binary("postgres", data), "-D", str(data), "-h", host, "-p", port),
            *(part for setting in settings for part in ("-c", setting)),
        ]

    return Server(
        "postgres",
        "PostgreSQL",
        f"{definition.host}:{port}",
        command,
        {},
        partial(health.postgres, definition, secrets),
        ports=(int(port),),
        provision="databases",
        # Fast shutdown: SIGTERM would wait for the clients to leave.
        stop_signal=signal.SIGINT,
        options=postgres.account().options,
    )


def _mlflow(definition: Definition, secrets: Secrets) -> Server:
    database = database_url(definition, secrets, "MLFLOW", "postgresql+psycopg2")
    config = definition.folder / "mlflow-auth.ini"

    def command() -> list[str]:
        credentials.write_private(config, mlflow_auth(definition, database))
        return [
            *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
            *("--host", definition["HPT_HOST"], "--port", definition["HPT_MLFLOW_PORT"]),
            *("--workers", definition["HPT_MLFLOW_WORKERS"], "--no-serve-artifacts"),
            *("--default-artifact-root", f"s3://{definition['HPT_MLFLOW_BUCKET']}"),
        ]

    hosts = {"MLFLOW_SERVER_ALLOWED_HOSTS": definition["HPT_MLFLOW_ALLOWED_HOSTS"]}
    env = {
        **server_settings.mlflow_variables(definition.host, definition.port("HPT_MLFLOW_PORT"), hosts),
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets["HPT_MLFLOW_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets["HPT_MLFLOW_SESSION_KEY"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_ENDPOINT_URL": definition.url("HPT_S3_PORT"),
        "AWS_ACCESS_KEY_ID": f"{definition['HPT_USER']}-reader",
        "AWS_SECRET_ACCESS_KEY": secrets["HPT_S3_READER_SECRET_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Server(
        "mlflow",
        "MLflow",
        definition.url("HPT_MLFLOW_PORT"),
        command,
        env,
        partial(health.mlflow, definition, secrets),
        needs=("postgres",),
        ports=(definition.port("HPT_MLFLOW_PORT"),),
        silence_limit=definition.silence_limit,
        options={"cwd": definition.folder},
    )


def mlflow_auth(definition: Definition, database: str) -> str:
    """MLflow's configuration of users, which are kept in its database at the URL `database`."""
    return AUTH.format(database=database, user=definition["HPT_USER"])


AUTH = """\
[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
# Otherwise each request of a run that is published hashes the password again.
auth_cache_ttl_seconds = 60
"""


def _prefect(definition: Definition, secrets: Secrets) -> Server:
    host, port = definition["HPT_HOST"], definition["HPT_PREFECT_PORT"]
    password = {
        server_settings.PREFECT_PASSWORD: f"{definition['HPT_USER']}:{secrets['HPT_PREFECT_PASSWORD']}"
    }
    env = {
        "PREFECT_HOME": str(definition.folder / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(
            definition, secrets, "PREFECT", "postgresql+asyncpg"
        ),
        **password,
        **server_settings.prefect_variables(definition.host, int(port), password),
    }
    return Server(
        "prefect",
        "Prefect",
        definition.url("HPT_PREFECT_PORT"),
        lambda: [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port],
        env,
        partial(health.prefect, definition),
        needs=("postgres",),
        ports=(definition.port("HPT_PREFECT_PORT"),),
        silence_limit=definition.silence_limit,
        options={"cwd": definition.folder},
    )


def _worker(definition: Definition, secrets: Secrets) -> Server:
    pool, name = definition["HPT_WORK_POOL"], f"stack-{socket.gethostname()}"
    # Not Prefect's own worker, which runs what anybody writes into the work pool.
    command = [sys.executable, "-m", "pipelines.cli", "worker", "--pool", pool, "--name", name]
    return Server(
        "worker",
        "Prefect worker",
        f"work pool {pool}",
        lambda: command,
        {
            **credentials.connection(definition, secrets),
            "PREFECT_HOME": str(definition.folder / "worker"),
        },
        partial(health.worker, definition, secrets, name),
        needs=("prefect",),
        # Its flow runs end their stages first.
        grace=30.0,
        options={"cwd": definition.root},
    )


def write_for_containers(definition: Definition) -> list[Path]:
    """Write the files that infra/compose.yaml reads, with new secrets where there are none."""
    secrets, folder = credentials.load(definition), definition.folder
    database = database_url(definition, secrets, "MLFLOW", "postgresql+psycopg2", "postgres")
    credentials.write(folder / "env", credentials.connection(definition, secrets))
    seaweedfs.write_identities(definition, secrets)
    credentials.write_private(folder / "compose-mlflow-auth.ini", mlflow_auth(definition, database))
    return [folder / name for name in ("secrets.env", "env", "s3.json", "compose-mlflow-auth.ini")]


def database_url(
    definition: Definition, secrets: Secrets, owner: str, driver: str, host: str | None = None
) -> str:
    """The URL of the database of MLFLOW or PREFECT, with its password: for environments and files."""
    name, password = definition[f"HPT_{owner}_DATABASE"], secrets[f"HPT_{owner}_DATABASE_PASSWORD"]
    server = f"{host or definition.host}:{definition['HPT_POSTGRES_PORT']}"
    return f"{driver}://{name}:{password}@{server}/{name}"
