"""Passwords and keys of the stack: made once, kept in .stack/secrets.env, which only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hpt_core.files import read_text
from pipelines import environment
from pipelines.stack.definition import Definition

NAMES = (
    "HPT_POSTGRES_PASSWORD",
    "HPT_MLFLOW_DATABASE_PASSWORD",
    "HPT_PREFECT_DATABASE_PASSWORD",
    "HPT_MLFLOW_PASSWORD",
    "HPT_MLFLOW_SESSION_KEY",
    "HPT_PREFECT_PASSWORD",
    "HPT_S3_SECRET_KEY",
    "HPT_S3_ADMIN_SECRET_KEY",
    "HPT_S3_READER_SECRET_KEY",
    "HPT_S3_SIGNING_KEY",
)
"""Variables of infra/compose.yaml too. HPT_S3_SIGNING_KEY signs what parts of SeaweedFS say to each other."""


class Secrets(dict[str, str]):
    """Name -> value of each of NAMES; the text of it shows no value."""

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self)})"


def load(definition: Definition) -> Secrets:
    """The secrets of the stack; those that are not there yet are made.

    A variable that is set in the environment wins, as it does for docker compose.
    """
    path = definition.folder / "secrets.env"
    kept = parse(read_text(path)) if path.exists() else {}
    values = {**fresh(), **{name: value for name, value in kept.items() if value}}
    if values != kept:
        write(path, values)
    return Secrets({name: os.environ.get(name) or value for name, value in values.items()})


def fresh() -> dict[str, str]:
    """New secrets."""
    return {name: secrets.token_hex(24) for name in NAMES}


def connection(definition: Definition, values: Secrets) -> dict[str, str]:
    """The environment variables by which clients reach the servers: the contents of .stack/env."""
    user = definition["HPT_USER"]
    return {
        "PREFECT_API_URL": f"{definition.url('HPT_PREFECT_PORT')}/api",
        "PREFECT_API_AUTH_STRING": f"{user}:{values['HPT_PREFECT_PASSWORD']}",
        "MLFLOW_TRACKING_URI": definition.url("HPT_MLFLOW_PORT"),
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": values["HPT_MLFLOW_PASSWORD"],
        "AWS_ENDPOINT_URL": definition.url("HPT_S3_PORT"),
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": values["HPT_S3_SECRET_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def parse(text: str) -> dict[str, str]:
    """The variables of a file with a line NAME=VALUE for each."""
    return environment.parse(text)


def write(path: Path, values: dict[str, str]) -> None:
    """Write NAME=VALUE lines to `path`, which only its owner can read, in one move."""
    write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()))


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path`, which nobody but its owner can read at any moment, in one move."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(temporary, path)
