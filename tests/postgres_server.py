"""A PostgreSQL server of a test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from servers import server

from pipelines.stack import postgres


@contextmanager
def postgres_server() -> Iterator[Path]:
    """The folder of the socket of a server: database `postgres`, user hpt, no password."""
    account = postgres.account()
    # The path of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hpt-pg-", dir="/tmp"))
    if account.name:
        shutil.chown(folder, account.name)
    data, options = folder / "data", {"check": True, "capture_output": True, **account.options}
    subprocess.run(
        [postgres.binary("initdb"), "-D", str(data), "-U", "hpt", "-A", "trust", "--no-sync"], **options
    )
    command = [postgres.binary("postgres"), "-D", str(data), "-c", f"unix_socket_directories={folder}"]
    command += ["-c", "listen_addresses=", "-c", "fsync=off"]
    if account.name:
        # PostgreSQL refuses to run as root, as which its keeper runs.
        user = [f"--reuid={account.name}", f"--regid={account.name}", "--clear-groups"]
        command = ["setpriv", *user, *command]
    with server(command, folder / "log", lambda: _answers(folder)):
        yield folder
    shutil.rmtree(folder)


def _answers(folder: Path) -> bool:
    with closing(psycopg2.connect(host=folder, user="hpt", dbname="postgres")):
        return True
