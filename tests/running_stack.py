"""A real stack on free ports for a toy project, and commands in it."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg2
import pytest
from prefect_api import PrefectApi
from toy_project import REPO, clean_environment, make_toy

from pipelines.environment import parse
from pipelines.stack.processes import State, read_state

PORTS = ("HPT_POSTGRES_PORT", "HPT_S3_PORT", "HPT_SEAWEEDFS_PORTS", "HPT_MLFLOW_PORT", "HPT_PREFECT_PORT")

LATER = "import os, sys; sys.stdin.read(); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
"""Runs a command as soon as its input is closed."""


@dataclass
class Stack:
    """A checkout with a stack, and commands in it."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of the commands, above those of the user that concern no service."""
    down: subprocess.Popen[str] | None = None
    """`hpt stack down`, which waits for `remove` or the end of this process."""

    def hpt(
        self, *arguments: str, check: bool = True, timeout: float = 550
    ) -> subprocess.CompletedProcess[str]:
        """Run `hpt` in the checkout; its output must be looked at, so a failure shows it."""
        return self.command(sys.executable, "-m", "pipelines.cli", *arguments, check=check, timeout=timeout)

    def command(
        self, *command: str, cwd: Path | None = None, check: bool = True, timeout: float = 550
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=clean_environment() | self.variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    @property
    def connection(self) -> dict[str, str]:
        """The variables by which clients reach the servers."""
        return parse((self.root / ".stack" / "env").read_text())

    @property
    def definition(self) -> dict[str, str]:
        return parse((self.root / "infra" / "stack.env").read_text())

    @property
    def secrets(self) -> dict[str, str]:
        return parse((self.root / ".stack" / "secrets.env").read_text())

    @property
    def state(self) -> State:
        """What the supervisor knows of the servers."""
        return read_state(self.root / ".stack")

    def s3(self) -> Any:
        connection = self.connection
        return boto3.client(
            "s3",
            endpoint_url=connection["AWS_ENDPOINT_URL"],
            aws_access_key_id=connection["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=connection["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def keys(self, bucket: str) -> set[str]:
        """The objects in the bucket that `bucket` of infra/stack.env names."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=self.definition[bucket])
        return {entry["Key"] for page in pages for entry in page.get("Contents", [])}

    def rows(self, owner: str, query: str) -> list[tuple[Any, ...]]:
        """What a query of the database of MLFLOW or PREFECT gives."""
        name = self.definition[f"HPT_{owner}_DATABASE"]
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.definition["HPT_POSTGRES_PORT"],
            user=name,
            password=self.secrets[f"HPT_{owner}_DATABASE_PASSWORD"],
            dbname=name,
        )
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            connection.close()

    @property
    def prefect(self) -> PrefectApi:
        connection = self.connection
        return PrefectApi(connection["PREFECT_API_URL"], connection["PREFECT_API_AUTH_STRING"], csrf=True)

    def run_state(self, run: str) -> str:
        """Name of the state of a flow run, from the database: Prefect's server may be away."""
        [(name,)] = self.rows("PREFECT", f"SELECT state_name FROM flow_run WHERE id = '{run}'")
        return str(name)

    def cached(self) -> list[Path]:
        """The files of DVC's cache."""
        return [path for path in (self.root / ".dvc" / "cache").glob("files/md5/*/*") if path.is_file()]

    def processes(self) -> list[psutil.Process]:
        """Every process whose command line or environment names the stack's folder."""
        return [process for process in psutil.process_iter() if self._belongs(process)]

    def _belongs(self, process: psutil.Process) -> bool:
        folder = str(self.root / ".stack")
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return any(folder in text for text in [*process.cmdline(), *process.environ().values()])
        except (psutil.Error, OSError):
            return False

    def ports_in_use(self) -> list[int]:
        ports = [int(self.definition[name]) for name in PORTS]
        inner = int(self.definition["HPT_SEAWEEDFS_PORTS"])
        return [port for port in {*ports, *range(inner, inner + 7)} if not _free(port)]


def new_stack(root: Path) -> Stack:
    """A toy project in `root` with a definition of free ports; nothing is started."""
    make_toy(root)
    choose_ports(root)
    return ends_with_this_process(Stack(root, {"DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site")}))


def ends_with_this_process(stack: Stack) -> Stack:
    """The same stack, which is now ended with this process, however that ends."""
    command = [sys.executable, "-c", LATER, "-m", "pipelines.cli", "stack", "down"]
    stack.down = subprocess.Popen(
        command,
        cwd=stack.root,
        env=clean_environment() | stack.variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return stack


def choose_ports(root: Path) -> None:
    """Write infra/stack.env of the checkout `root`, with free ports."""
    text = (REPO / "infra" / "stack.env").read_text()
    taken: set[int] = set()
    for name in PORTS:
        width = 7 if name == "HPT_SEAWEEDFS_PORTS" else 1
        port = _free_ports(width, taken)
        taken.update(range(port, port + width))
        text = re.sub(rf"(?m)^{name}=.*$", f"{name}={port}", text)
    (root / "infra").mkdir(exist_ok=True)
    (root / "infra" / "stack.env").write_text(text)


def remove(stack: Stack) -> None:
    """End the stack, and delete the database that is outside the checkout where root runs the tests."""
    assert stack.down is not None
    stack.down.communicate(timeout=120)
    data = stack.root / ".stack" / "postgres"
    if data.is_symlink():
        folder = data.resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.owner").unlink(missing_ok=True)


def _free_ports(width: int, taken: set[int]) -> int:
    """The first of `width` free ports in a row, below those that the system gives to clients."""
    for _ in range(1000):
        first = random.randrange(20000, 32000)
        ports = range(first, first + width)
        if not taken.intersection(ports) and all(_free(port) for port in ports):
            return first
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
