"""Databases, users and buckets of the stack, made where missing: `python -m pipelines.stack.provision`.

A password that has changed is set. `hpt stack up` runs this, and so does infra/compose.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from hpt_core.errors import InputError
from pipelines.stack import credentials, definition
from pipelines.stack.credentials import Secrets
from pipelines.stack.definition import Definition


def databases(stack: Definition, secrets: Secrets) -> None:
    """A database and its owner for each of MLflow and Prefect."""
    import psycopg2
    from psycopg2 import extensions, sql

    connection = psycopg2.connect(
        host=stack.host,
        port=stack["HPT_POSTGRES_PORT"],
        user=stack["HPT_USER"],
        password=secrets["HPT_POSTGRES_PASSWORD"],
        dbname="postgres",
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
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
    connection.close()


def buckets(stack: Definition, secrets: Secrets) -> None:
    """The buckets of DVC, MLflow and the inbox."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=stack.url("HPT_S3_PORT"),
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
