"""Databases, users and buckets of the stack, made where missing: `python -m pipelines.stack.provision`.

A password that has changed is set. `hpt stack up` runs this, and so does infra/compose.yaml.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError
from pipelines.stack import credentials, definition
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition


def databases(stack: Definition, secrets: Secrets) -> None:
    """A database and its owner for each of MLflow and Prefect, and the password of MLflow's user."""
    from psycopg2 import extensions, sql

    with connected(stack, secrets) as connection, connection.cursor() as cursor:
        for owner in ("MLFLOW", "PREFECT"):
            name = stack[f"HPT_{owner}_DATABASE"]
            # The server never sees the password itself, so that no log of statements can show it.
            verifier = extensions.encrypt_password(
                secrets[f"HPT_{owner}_DATABASE_PASSWORD"], name, connection, "scram-sha-256"
            )
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            cursor.execute(
                sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(name), sql.Literal(verifier)
                )
            )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    _set_mlflow_password(stack, secrets)


def _set_mlflow_password(stack: Definition, secrets: Secrets) -> None:
    """MLflow takes the password of its configuration only where the user does not exist yet."""
    from werkzeug.security import check_password_hash, generate_password_hash

    with connected(stack, secrets, stack["HPT_MLFLOW_DATABASE"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.users')")
        if cursor.fetchone()[0] is None:
            return
        cursor.execute("SELECT password_hash FROM users WHERE username = %s", [stack["HPT_USER"]])
        row, password = cursor.fetchone(), secrets["HPT_MLFLOW_PASSWORD"]
        if row and not check_password_hash(row[0], password):
            values = [generate_password_hash(password), stack["HPT_USER"]]
            cursor.execute("UPDATE users SET password_hash = %s WHERE username = %s", values)


def set_owner_password(stack: Definition, secrets: Secrets, password: str) -> None:
    """Change the password of the server's owner, whose present one is in `secrets`."""
    from psycopg2 import extensions, sql

    with connected(stack, secrets) as connection, connection.cursor() as cursor:
        verifier = extensions.encrypt_password(password, stack["HPT_USER"], connection, "scram-sha-256")
        change = sql.SQL("ALTER ROLE {} PASSWORD {}")
        cursor.execute(change.format(sql.Identifier(stack["HPT_USER"]), sql.Literal(verifier)))


def empty_database(stack: Definition, secrets: Secrets, name: str) -> None:
    """Replace a database by an empty one of the same owner."""
    from psycopg2 import sql

    with connected(stack, secrets) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        cursor.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


@contextmanager
def connected(stack: Definition, secrets: Secrets, database: str = "postgres") -> Iterator[Any]:
    """A connection of the server's owner, on which each statement takes effect at once."""
    import psycopg2

    connection = psycopg2.connect(
        # In a container the servers have names of their own.
        host=os.environ.get("HPT_POSTGRES_HOST", stack.host),
        port=stack["HPT_POSTGRES_PORT"],
        user=stack["HPT_USER"],
        password=secrets["HPT_POSTGRES_PASSWORD"],
        dbname=database,
    )
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def buckets(stack: Definition, secrets: Secrets) -> None:
    """The buckets of DVC, MLflow and the inbox."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://{os.environ.get('HPT_S3_HOST', stack.host)}:{stack['HPT_S3_PORT']}",
        aws_access_key_id=f"{stack['HPT_USER']}-admin",
        aws_secret_access_key=secrets["HPT_S3_ADMIN_SECRET_KEY"],
        region_name="us-east-1",
    )
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in stack.buckets:
        if name not in present:
            client.create_bucket(Bucket=name)


PARTS: Mapping[str, Callable[[Definition, Secrets], None]] = {"databases": databases, "buckets": buckets}


def main(parts: list[str]) -> int:
    """Make the parts named, or all; exit status 2 where the definition cannot be used."""
    try:
        stack = definition.load(Path("."))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    secrets = credentials.load(stack)
    for part in parts or PARTS:
        PARTS[part](stack, secrets)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
