"""The checkout of a flow and a clone of it for a worker, which have git and a DVC remote in common."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from toy_project import IDENTITY

from hpt_core.files import read_json, write_json
from pipelines.orchestration.dvc_stage import reproduce
from pipelines.orchestration.process_group import ProcessGroups
from pipelines.orchestration.stale_outputs import git
from pipelines.pools import transfer
from pipelines.pools.handover import Handover, Reply, check_worker, clean_commit
from pipelines.tracking.dvc_lock import read_lock

STAGE = "train@program"


@dataclass(frozen=True)
class Pair:
    """Two checkouts that have nothing else in common."""

    flow: Path
    worker: Path
    remote: Path


def make_pair(folder: Path, reproduced: Path) -> Pair:
    """A copy of the toy project `reproduced` with STAGE out of date, and a clone without any outputs."""
    pair = Pair(folder / "flow", folder / "worker", folder / "remote")
    shutil.copytree(reproduced, pair.flow, symlinks=True)
    share(pair.flow, pair.remote)
    clone(pair.flow, pair.worker)
    replace_in_params(pair.flow, "seed: 7", "seed: 8")
    return pair


def share(root: Path, remote: Path) -> None:
    """Commit `remote` as the DVC remote of the project in `root`."""
    (root / ".dvc/config").write_text(f'[core]\n    remote = shared\n[remote "shared"]\n    url = {remote}\n')
    commit(root)


def commit(root: Path) -> str:
    """Commit everything but dvc.lock; returns the commit."""
    for command in (["add", "-A", "--", ".", ":(exclude)dvc.lock"], [*IDENTITY, "commit", "-qm", "change"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return git(root, "rev-parse", "HEAD").strip()


def clone(root: Path, folder: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(root), str(folder)], check=True)
    return folder


def replace_in_params(root: Path, old: str, new: str) -> None:
    params = root / "params.yaml"
    text = params.read_text()
    assert old in text
    params.write_text(text.replace(old, new))


def offer(root: Path) -> str:
    with chdir(root):
        return transfer.offer(Path("."), STAGE)


def handover(root: Path) -> Handover:
    """What the flow in `root` sends after it has offered the stage."""
    offered = read_json(root / transfer.place(STAGE))
    params = (root / "params.yaml").read_text()
    return Handover(
        STAGE, clean_commit(root), params, offered["lock"], offered["expected"], "run", "night", "checkout"
    )


def take(worker: Path, given: Handover) -> None:
    """The worker's part before the stage."""
    with chdir(worker):
        check_worker(Path("."), given.commit)
        given.write(Path("."))
        write_json(transfer.place(STAGE), {"expected": given.expected})
        transfer.take(Path("."), STAGE)


def work(worker: Path, given: Handover) -> Reply:
    """The worker's part from beginning to end."""
    take(worker, given)
    reproduce(STAGE, worker, ProcessGroups(), lambda line: None, {})
    with chdir(worker):
        transfer.give(Path("."), STAGE)
    return Reply(read_lock(worker)[STAGE], None)


def accept(root: Path, reply: Reply) -> str:
    write_json(root / transfer.place(STAGE), {"entry": reply.entry})
    with chdir(root):
        return transfer.accept(Path("."), STAGE)


def contents(root: Path) -> dict[str, bytes]:
    """dvc.lock and every output that it names, by path."""
    outs = [root / out["path"] for entry in read_lock(root).values() for out in entry.get("outs", [])]
    files = [root / "dvc.lock", *outs, *(file for out in outs for file in out.rglob("*"))]
    return {str(file.relative_to(root)): file.read_bytes() for file in files if file.is_file()}
