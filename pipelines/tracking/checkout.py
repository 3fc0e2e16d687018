"""The checkout that publishes an MLflow run, so that others on the same server leave the run alone."""

from __future__ import annotations

import json
import os
import socket
import uuid
from pathlib import Path

from pipelines import paths
from pipelines.tracking.run_layout import CHECKOUT_TAG, HOST_TAG

FILE = paths.LOGS / "checkout.json"


def checkout_id(root: Path) -> str:
    """The id of this checkout, drawn at its first use.

    It stays where the folder is moved, or mounted into another container. A copy of the folder gets an id of
    its own: the file holds the number of its inode, and that of a copied file differs.
    """
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
