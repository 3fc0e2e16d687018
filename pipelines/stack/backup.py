"""Copies of all that the servers hold: PostgreSQL's databases and the objects of S3, and back from them.

Passwords and keys are no part of a copy: a stack that is restored keeps its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines.stack import control, postgres, provision
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition
from pipelines.stack.errors import StackError

OWNERS = ("MLFLOW", "PREFECT")
INVENTORY = "backup.json"
"""Written last: a folder without it is no whole copy."""
THREADS = 8


def back_up(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Copy databases and objects of the running stack into `folder`; objects that are there already stay.

    Raises InputError where the stack is not healthy, StackError where PostgreSQL fails.
    """
    stack, secrets = control.require_healthy(root)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / INVENTORY).unlink(missing_ok=True)
    dumps = {}
    for owner in OWNERS:
        name = stack[f"HPT_{owner}_DATABASE"]
        path = folder / f"{name}.dump"
        _postgres(stack, secrets, owner, "pg_dump", "--format=custom", f"--file={path}", "--dbname", name)
        dumps[name] = _digest(path)
        say(f"database {name}: {path.stat().st_size:,} bytes")
    counts = {}
    for bucket in stack.buckets:
        objects = list(_download(stack, secrets, bucket, folder / "s3" / bucket))
        counts[bucket] = len(objects)
        say(f"bucket {bucket}: {len(objects):,} objects, {sum(objects):,} bytes")
    made = {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "databases": dumps, "objects": counts}
    write_json(folder / INVENTORY, made)


def restore(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Replace the databases of the running stack by those of the copy in `folder`, and put its objects back.

    MLflow, Prefect and the worker are stopped meanwhile. Objects that the copy does not have stay. Raises
    InputError where the copy is not whole, before anything is changed.
    """
    stack, secrets = control.require_healthy(root)
    inventory = read_json(folder / INVENTORY, "give a folder that `hpt stack backup` has finished")
    for owner in OWNERS:
        name = stack[f"HPT_{owner}_DATABASE"]
        path = folder / f"{name}.dump"
        if not path.is_file() or _digest(path) != inventory["databases"].get(name):
            raise InputError(f"{path} is missing or damaged; take another copy")
    for bucket in stack.buckets:
        if len(list(_files(folder / "s3" / bucket))) < inventory["objects"].get(bucket, 0):
            raise InputError(f"{folder / 's3' / bucket} lacks objects of the copy; take another copy")
    with control.paused(stack, ("worker", "mlflow", "prefect")):
        for owner in OWNERS:
            name = stack[f"HPT_{owner}_DATABASE"]
            provision.empty_database(stack, secrets, name)
            options = ("--no-owner", "--exit-on-error", "--dbname", name)
            _postgres(stack, secrets, owner, "pg_restore", *options, str(folder / f"{name}.dump"))
            say(f"database {name} restored")
        for bucket in stack.buckets:
            count = _upload(stack, secrets, bucket, folder / "s3" / bucket)
            say(f"bucket {bucket}: {count:,} objects put back")
        # The passwords of the copy are those of the stack that it was made from.
        provision.databases(stack, secrets)


def _postgres(stack: Definition, secrets: Secrets, owner: str, program: str, *arguments: str) -> None:
    name = stack[f"HPT_{owner}_DATABASE"]
    command = [postgres.binary(program, stack.folder / "postgres"), "--host", stack.host]
    command += ["--port", stack["HPT_POSTGRES_PORT"], "--username", name, "--no-password", *arguments]
    environment = {**os.environ, "PGPASSWORD": secrets[f"HPT_{owner}_DATABASE_PASSWORD"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"{program} of database {name} failed: {done.stderr.strip().splitlines()[-1]}")


def _client(stack: Definition, secrets: Secrets) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=stack.url("HPT_S3_PORT"),
        aws_access_key_id=stack["HPT_USER"],
        aws_secret_access_key=secrets["HPT_S3_SECRET_KEY"],
        region_name="us-east-1",
    )


def _download(stack: Definition, secrets: Secrets, bucket: str, folder: Path) -> Iterator[int]:
    """The sizes of the objects of `bucket`, each of which is in `folder` when its size is returned."""
    client = _client(stack, secrets)

    def fetch(entry: dict[str, Any]) -> int:
        path = (folder / entry["Key"]).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise StackError(f"s3://{bucket}/{entry['Key']}: the name leads out of the folder; delete it")
        modified = int(entry["LastModified"].timestamp())
        same = path.is_file() and (path.stat().st_size, int(path.stat().st_mtime)) == (
            entry["Size"],
            modified,
        )
        if not same:
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, entry["Key"], str(path))
            os.utime(path, (modified, modified))
        return int(entry["Size"])

    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    listed = [entry for page in pages for entry in page.get("Contents", [])]
    # A key that ends with / is the mark of an empty folder.
    entries = [entry for entry in listed if not entry["Key"].endswith("/")]
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(fetch, entries)


def _upload(stack: Definition, secrets: Secrets, bucket: str, folder: Path) -> int:
    client = _client(stack, secrets)

    def send(path: Path) -> None:
        client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())

    with ThreadPoolExecutor(THREADS) as pool:
        return len(list(pool.map(send, _files(folder))))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
