"""The stack: seconds until it is healthy, of a run with nothing to do, and of 1 GiB to and from S3.

A new stack on free ports for a toy project. boto3 moves the same files as DVC, as many at a time.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.table import show

if TYPE_CHECKING:
    from tests.running_stack import Stack

FILES, SIZE = 8, 128 * 2**20
"""Files and their size in bytes: 1 GiB in files of the size of a small model's weights."""


def stack(_: Path | None) -> None:
    sys.path.append(str(Path(__file__).parents[1]))
    from running_stack import new_stack, remove

    with tempfile.TemporaryDirectory() as folder:
        made = new_stack(Path(folder) / "toy")
        try:
            start = _seconds(lambda: made.hpt("stack", "up"))
            made.hpt("run", timeout=600)
            idle = _seconds(lambda: made.hpt("run"))
            rows = [["hpt stack up", f"{start:.1f}"], ["hpt run, nothing to do", f"{idle:.1f}"]]
            show("the stack", ["", "seconds"], rows)
            transfers(made, Path(folder))
        finally:
            remove(made)


def transfers(made: Stack, folder: Path) -> None:
    """Measure both ways of 1 GiB, by DVC and by boto3."""
    data, away = made.root / "raw" / "data" / "bench", folder / "away"
    for path in (data, away):
        path.mkdir(parents=True)
    for number in range(FILES):
        (data / f"{number}.bin").write_bytes(random.Random(number).randbytes(SIZE))
    bucket = made.definition["HPT_INBOX_BUCKET"]

    def dvc(command: str, target: str) -> None:
        made.command(sys.executable, "-m", "dvc", command, "-q", target, timeout=600)

    def send(client: Any, path: Path) -> None:
        client.upload_file(str(path), bucket, path.name)

    def fetch(client: Any, path: Path) -> None:
        client.download_file(bucket, path.name, str(away / path.name))

    dvc("add", str(data))
    push = _seconds(lambda: dvc("push", f"{data}.dvc"))
    sent = _seconds(lambda: _each(send, made, data))
    shutil.rmtree(data)
    shutil.rmtree(made.root / ".dvc" / "cache")
    pull = _seconds(lambda: dvc("pull", f"{data}.dvc"))
    fetched = _seconds(lambda: _each(fetch, made, data))
    rows = [
        ["to S3", f"{push:.1f}", f"{sent:.1f}", f"{push / sent:.2f}"],
        ["from S3", f"{pull:.1f}", f"{fetched:.1f}", f"{pull / fetched:.2f}"],
        ["both", f"{push + pull:.1f}", f"{sent + fetched:.1f}", f"{(push + pull) / (sent + fetched):.2f}"],
    ]
    show("1 GiB, seconds", ["", "dvc", "boto3", "ratio"], rows)


def _each(move: Callable[[Any, Path], None], made: Stack, data: Path) -> None:
    """Move every file with boto3, as many at a time as DVC by default: four for each core."""
    import boto3

    connection = made.connection
    client = boto3.client(
        "s3",
        endpoint_url=connection["AWS_ENDPOINT_URL"],
        aws_access_key_id=connection["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=connection["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        list(pool.map(lambda path: move(client, path), sorted(data.iterdir())))


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
