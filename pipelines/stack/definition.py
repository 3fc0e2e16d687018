"""The definition of the stack: ports, users, databases and buckets of infra/stack.env."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpt_core.errors import InputError
from hpt_core.files import read_text
from pipelines import environment

FILE = Path("infra/stack.env")
INNER_PORTS = 7
"""SeaweedFS needs two ports for each of master, volume server and filer, and one for the gRPC of S3."""


@dataclass(frozen=True)
class Definition:
    """The values of infra/stack.env for the checkout `root`, and the folders of its servers."""

    root: Path
    values: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def port(self, name: str) -> int:
        return int(self.values[name])

    def url(self, port: str) -> str:
        """http://HOST:PORT by which this machine reaches the port `port` of infra/stack.env."""
        return f"http://{self.host}:{self[port]}"

    @property
    def host(self) -> str:
        """The address by which this machine reaches the servers."""
        return "127.0.0.1" if self["HPT_HOST"] == "0.0.0.0" else self["HPT_HOST"]

    @property
    def inner_ports(self) -> list[int]:
        first = self.port("HPT_SEAWEEDFS_PORTS")
        return list(range(first, first + INNER_PORTS))

    @property
    def silence_limit(self) -> float:
        """Seconds without an answer after which MLflow's or Prefect's server hangs."""
        return float(self["HPT_SILENCE_LIMIT"])

    @property
    def buckets(self) -> tuple[str, ...]:
        return self["HPT_DVC_BUCKET"], self["HPT_MLFLOW_BUCKET"], self["HPT_INBOX_BUCKET"]

    @property
    def folder(self) -> Path:
        """The folder of state, secrets, data and logs."""
        return self.root / environment.STACK

    @property
    def logs(self) -> Path:
        return self.folder / "logs"


def load(root: Path) -> Definition:
    """The definition of the checkout `root`. Raises InputError with the line that cannot be used."""
    path = root / FILE
    text = read_text(path, "restore it from git: the ports and users of the stack stand there")
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"{path}:{number}: {line!r} is not NAME=VALUE; correct the line")
        values[name] = os.environ.get(name) or value.strip()
    definition = Definition(root.resolve(), values)
    _check(definition, path)
    return definition


REQUIRED = (
    "HPT_HOST",
    "HPT_POSTGRES_PORT",
    "HPT_MLFLOW_DATABASE",
    "HPT_PREFECT_DATABASE",
    "HPT_S3_PORT",
    "HPT_SEAWEEDFS_PORTS",
    "HPT_DVC_BUCKET",
    "HPT_MLFLOW_BUCKET",
    "HPT_INBOX_BUCKET",
    "HPT_MLFLOW_PORT",
    "HPT_MLFLOW_WORKERS",
    "HPT_MLFLOW_ALLOWED_HOSTS",
    "HPT_PREFECT_PORT",
    "HPT_WORK_POOL",
    "HPT_SILENCE_LIMIT",
    "HPT_USER",
)


def _check(definition: Definition, path: Path) -> None:
    if missing := [name for name in REQUIRED if not definition.values.get(name)]:
        raise InputError(f"{path}: {', '.join(missing)} is missing; restore the line from git")
    if not definition["HPT_SILENCE_LIMIT"].isdecimal():
        value = definition["HPT_SILENCE_LIMIT"]
        raise InputError(f"{path}: HPT_SILENCE_LIMIT={value} is not a whole number of seconds; give one")
    ports = ("HPT_POSTGRES_PORT", "HPT_S3_PORT", "HPT_SEAWEEDFS_PORTS", "HPT_MLFLOW_PORT", "HPT_PREFECT_PORT")
    for name in ports:
        value = definition[name]
        if not value.isdecimal() or not 0 < int(value) < 2**16 - INNER_PORTS:
            raise InputError(f"{path}: {name}={value} is not a port; give one from 1 to 65528")
    taken = [definition.port(name) for name in ports if name != "HPT_SEAWEEDFS_PORTS"]
    numbers = taken + definition.inner_ports
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise InputError(f"{path}: port {twice[0]} is given to two servers; give each a port of its own")
