"""Ranks write and read their own shards, and any number of them resumes what another number wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shards_worker
from safetensors.torch import load_file

from hpt_core.trainer.ranks import ALONE


def launch(folder: Path, count: int, others: int) -> tuple[list[dict[str, Any]], str]:
    """What each of `count` ranks found, before the last of them was killed, and what they wrote to stderr."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*command, shards_worker.__file__, str(folder), str(others)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = [folder / f"{rank}of{count}.json" for rank in range(count)]
    assert all(path.exists() for path in found) and "SIGKILL" in done.stderr, done.stderr
    return [json.loads(path.read_text()) for path in found], done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoint of one rank."""
    folder = tmp_path_factory.mktemp("shards")
    shards_worker.saved(folder, ALONE)
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> tuple[list[dict[str, Any]], str]:
    return launch(folder, 2, others=1)


def check(ranks: list[dict[str, Any]], errors: str, folder: Path) -> None:
    count = len(ranks)
    assert all(rank["newest"] == 2 and rank["same"] for rank in ranks), "as the other number wrote it"
    assert all(rank["read"] == rank["mine"] for rank in ranks), "a rank reads what it keeps, and no more"
    held = [rank["held"] for rank in ranks]
    assert all(len(times) == 1 for times in held), "one copy of the shards"
    total = ranks[0]["whole"]
    assert sum(size for (size,) in held) == total, "each byte once"
    assert max(size for (size,) in held) < 1.25 * total / count, "the main rank holds no more than its part"
    full = "no space is left; make room and start again, which goes on from what is there"
    assert [rank["failing"] for rank in ranks] == [
        *[f"CheckpointError: {folder}/{count}/run: rank {count - 1} wrote no checkpoint: {full}"]
        * (count - 1),
        "OSError: [Errno 28] No space left on device",
    ]
    assert all(rank["damaged"] == 2 for rank in ranks), "every rank takes the older one"
    name = f"000004/rank{count - 1}of{count}.safetensors has other bytes than were written"
    assert name in errors
    # The last rank was killed while it wrote step 6. A process alone reads what is there.
    newest, state, _ = shards_worker.resumed(folder / str(count), ALONE)
    assert newest == 2
    assert shards_worker.same(shards_worker.whole(state), load_file(folder / f"{count}.safetensors"))


def test_two_ranks_and_one(folder: Path, two: tuple[list[dict[str, Any]], str]) -> None:
    check(*two, folder)


@pytest.mark.slow
def test_four_ranks_and_two(folder: Path, two: tuple[list[dict[str, Any]], str]) -> None:
    check(*launch(folder, 4, others=2), folder)
