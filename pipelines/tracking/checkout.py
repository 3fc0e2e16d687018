"""The checkout that publishes an MLflow run, so that others on the same server leave the run alone; and one
that was moved or copied, whose own database must not name the folder that it was in."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from pipelines import paths
from pipelines.environment import CHECKOUT
from pipelines.tracking.run_layout import CHECKOUT_TAG, HOST_TAG

FILE = paths.LOGS / "checkout.json"
ARTIFACTS = "mlartifacts"
"""The folder of the artifacts of a database that is the checkout's own."""
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold the place of artifacts."""


def checkout_id(root: Path) -> str:
    """The id of this checkout, drawn at its first use. For a stage that the worker of a pool runs, it is that
    of the checkout of its flow, which publishes the stage's run.

    It stays where the folder is moved, or mounted into another container. A copy of the folder gets an id of
    its own: the file holds the number of its inode, and that of a copied file differs.
    """
    if of_flow := os.environ.get(CHECKOUT):
        return of_flow
    path = root / FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["inode"] == path.stat().st_ino:
            return str(known["id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    path.parent.mkdir(exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    drawn = uuid.uuid4().hex
    with written.open("w", encoding="utf-8") as file:
        json.dump({"id": drawn, "inode": os.fstat(file.fileno()).st_ino}, file)
    written.replace(path)
    return drawn


def owner_tags(root: Path) -> dict[str, str]:
    """The tags of an MLflow run that say which checkout publishes it, and on which host."""
    return {CHECKOUT_TAG: checkout_id(root), HOST_TAG: socket.gethostname()}


def artifact_folder(root: Path) -> str:
    """Where the checkout's own database has its artifacts, as a URI."""
    return (root.resolve() / ARTIFACTS).as_uri()


def relocate(root: Path, before: str) -> None:
    """Replace the folder of artifacts `before` in mlflow.db by that of the checkout as it is now.

    MLflow would go on to write to the folder in which the checkout was created, or to that of the checkout
    from which it was copied.
    """
    now = artifact_folder(root)
    if before == now or not (before.startswith("file:") and before.endswith(f"/{ARTIFACTS}")):
        return
    with closing(sqlite3.connect(root / "mlflow.db", timeout=60)) as database, database:
        for table, column in LOCATIONS:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
