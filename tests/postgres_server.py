"""A PostgreSQL server of a test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    control = [postgres.binary("pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
    settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    subprocess.run([*control, "-o", settings, "start"], **options)
    try:
        yield folder
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)
