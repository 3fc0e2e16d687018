"""The server of S3: SeaweedFS with its access keys."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError
from pipelines.stack import credentials, health
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition
from pipelines.stack.server import INSTALL, Server

INNER_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)
SIGNED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


def server(definition: Definition, secrets: Secrets) -> Server:
    """Master, volume server, filer and S3 in one process."""
    folder, inner = definition.folder / "s3", definition.inner_ports

    def command() -> list[str]:
        folder.mkdir(mode=0o700, exist_ok=True)
        return [
            *(binary(), "-logtostderr=true", "server", f"-dir={folder}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer"),
            *("-s3", f"-s3.port={definition['HPT_S3_PORT']}", f"-s3.ip.bind={definition['HPT_HOST']}"),
            *(f"-{name}={port}" for name, port in zip(INNER_PORTS, inner, strict=True)),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-s3.config={write_identities(definition, secrets)}", "-s3.autoCreateBucket=false"),
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


def signatures(secrets: Secrets) -> dict[str, str]:
    """Variables by which the parts of SeaweedFS refuse what is not signed: nobody gets past the keys of S3.

    A signature is valid for ten minutes. On a busy machine a part of an upload waits for longer than the ten
    seconds of the default, and then fails.
    """
    keys = {f"WEED_JWT_{part}_KEY": secrets["HPT_S3_SIGNING_KEY"] for part in SIGNED}
    return keys | {f"WEED_JWT_{part}_EXPIRES_AFTER_SECONDS": "600" for part in SIGNED}


def write_identities(definition: Definition, secrets: Secrets) -> Path:
    """Write the access keys to .stack/s3.json, where `weed` and infra/compose.yaml read them."""
    path = definition.folder / "s3.json"
    credentials.write_private(path, json.dumps(identities(definition, secrets), indent=2))
    return path


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


def binary() -> str:
    """The path of `weed`. Raises InputError where it is not installed."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise InputError(f"SeaweedFS (weed) is not installed: {INSTALL}")
    return found
