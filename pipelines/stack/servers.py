"""The servers of the stack: how each is started, what it needs, how it is stopped, where it answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError
from pipelines import server_settings
from pipelines.stack import credentials, health, postgres
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition

STACK, SERVER = "HPT_STACK", "HPT_STACK_SERVER"
"""Environment variables of every process of the stack: its folder, and the server it belongs to."""
OWN_VARIABLES = ("PREFECT_", "MLFLOW_", "AWS_", "PG", "WEED_", "HPT_")
"""Prefixes of variables by which the user's settings for clients would change the servers."""
INSTALL = "install it: pip install 'hpt-pipeline[stack]'"


@dataclass(frozen=True)
class Server:
    """One server."""

    name: str
    title: str
    address: str
    command: Callable[[], list[str]]
    """Prepares what the command needs and returns it. Raises InputError."""
    env: Mapping[str, str]
    probe: Callable[[float], str | None]
    """Asks the server that was started at a time; what is wrong with it, or None."""
    needs: tuple[str, ...] = ()
    """Servers that must be healthy before it starts."""
    ports: tuple[int, ...] = ()
    provision: str | None = None
    """The part of pipelines.stack.provision that makes its databases or buckets each time it has started."""
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    """Seconds between that signal and SIGKILL."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of subprocess.Popen."""


def servers(definition: Definition, secrets: Secrets) -> dict[str, Server]:
    """Name -> server, each after those that it needs."""
    made = (
        _postgres(definition, secrets),
        _s3(definition, secrets),
        _prefect(definition, secrets),
        _mlflow(definition, secrets),
        _worker(definition, secrets),
    )
    return {server.name: server for server in made}


def check_installed(definition: Definition) -> None:
    """Raise InputError where a program or a package of a server is missing."""
    postgres.account()
    postgres.binary("postgres", definition.folder / "postgres")
    _weed()
    packages = {"psycopg2": "psycopg2-binary", "flask_wtf": "Flask-WTF", "asyncpg": "asyncpg"}
    if missing := [package for module, package in packages.items() if find_spec(module) is None]:
        raise InputError(f"{', '.join(missing)} is not installed: {INSTALL}")


def _weed() -> str:
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise InputError(f"SeaweedFS (weed) is not installed: {INSTALL}")
    return found


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


def _s3(definition: Definition, secrets: Secrets) -> Server:
    folder, inner = definition.folder / "s3", definition.inner_ports

    def command() -> list[str]:
        folder.mkdir(mode=0o700, exist_ok=True)
        config = definition.folder / "s3.json"
        credentials.write_private(config, json.dumps(identities(definition, secrets), indent=2))
        parts = [f"-{name}={port}" for name, port in zip(INNER_PORTS, inner, strict=True)]
        return [
            *(
                _weed(),
                "-logtostderr=true",
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
            ),
            *(
                "-filer",
                "-s3",
                f"-s3.port={definition['HPT_S3_PORT']}",
                f"-s3.ip.bind={definition['HPT_HOST']}",
            ),
            *parts,
            *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}", "-s3.autoCreateBucket=false"),
            # Relative, because the path of a socket may have 107 characters.
            *("-s3.localSocket=s3/s3.sock", "-filer.localSocket=s3/filer.sock"),
            *("-volume.max=0", "-volume.preStopSeconds=0", "-master.volumeSizeLimitMB=1024"),
            *("-master.telemetry=false", "-master.electionTimeout=1s"),
        ]

    return Server(
        "s3",
        "S3 (SeaweedFS)",
        definition.url("HPT_S3_PORT"),
        command,
        signatures(secrets),
        partial(health.s3, definition),
        ports=(definition.port("HPT_S3_PORT"), *inner),
        provision="buckets",
        # An object is written when its PUT is answered; weed would wait 15 s for its own connections.
        grace=3.0,
        options={"cwd": definition.folder},
    )


INNER_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)
SIGNED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


def signatures(secrets: Secrets) -> dict[str, str]:
    """Variables by which the parts of SeaweedFS refuse what is not signed: nobody gets past the keys of S3.

    A signature is valid for ten minutes. On a busy machine a part of an upload waits for longer than the ten
    seconds of the default, and then fails.
    """
    keys = {f"WEED_JWT_{part}_KEY": secrets["HPT_S3_SIGNING_KEY"] for part in SIGNED}
    return keys | {f"WEED_JWT_{part}_EXPIRES_AFTER_SECONDS": "600" for part in SIGNED}


def identities(definition: Definition, secrets: Secrets) -> dict[str, Any]:
    """SeaweedFS's access keys: one that makes buckets, one of the pipeline, one that reads for MLflow."""
    user = definition["HPT_USER"]

    def identity(name: str, secret: str, actions: list[str]) -> dict[str, Any]:
        keys = [{"accessKey": name, "secretKey": secrets[secret]}]
        return {"name": name, "credentials": keys, "actions": actions}

    every = ("Read", "Write", "List", "Tagging")
    return {
        "identities": [
            identity(f"{user}-admin", "HPT_S3_ADMIN_SECRET_KEY", ["Admin"]),
            identity(user, "HPT_S3_SECRET_KEY", [f"{a}:{b}" for b in definition.buckets for a in every]),
            identity(
                f"{user}-reader",
                "HPT_S3_READER_SECRET_KEY",
                [f"{action}:{definition['HPT_MLFLOW_BUCKET']}" for action in ("Read", "List")],
            ),
        ]
    }


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
    credentials.write_private(folder / "s3.json", json.dumps(identities(definition, secrets), indent=2))
    credentials.write_private(folder / "compose-mlflow-auth.ini", mlflow_auth(definition, database))
    return [folder / name for name in ("secrets.env", "env", "s3.json", "compose-mlflow-auth.ini")]


def database_url(
    definition: Definition, secrets: Secrets, owner: str, driver: str, host: str | None = None
) -> str:
    """The URL of the database of MLFLOW or PREFECT, with its password: for environments and files."""
    name, password = definition[f"HPT_{owner}_DATABASE"], secrets[f"HPT_{owner}_DATABASE_PASSWORD"]
    server = f"{host or definition.host}:{definition['HPT_POSTGRES_PORT']}"
    return f"{driver}://{name}:{password}@{server}/{name}"


def environment_of(server: Server, definition: Definition) -> dict[str, str]:
    """The environment of a server: the user's, without settings that are meant for clients, and its own.

    The worker runs the user's stages, and keeps all of the user's.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if server.name == "worker" or not name.startswith(OWN_VARIABLES)
    }
    return {**kept, **server.env, STACK: str(definition.folder), SERVER: server.name}
