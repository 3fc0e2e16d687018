"""What somebody has versioned with `dvc add` below raw/data is in git's reach and in DVC's, and only that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo
from toy_project import REPO, make_toy


def write_files(root: Path) -> None:
    for name in ("inbox/crowd/may.jsonl", "nested/june.jsonl", "alone.jsonl"):
        path = root / "raw" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


@pytest.mark.usefixtures("services")
def test_git_sees_the_dvc_files_and_push_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC asks git's rules for each folder, and passes over one that is ignored."""
    root = make_toy(tmp_path / "toy")
    monkeypatch.chdir(root)
    write_files(root)
    with Repo() as repo:
        repo.add(["raw/data/inbox", "raw/data/nested/june.jsonl", "raw/data/alone.jsonl"])
        files = "raw/data/alone.jsonl", "raw/data/inbox/crowd/may.jsonl", "raw/data/nested/june.jsonl"
        assert repo.push() == 4, "three files, and the list of the folder"
    seen = subprocess.run(["git", "status", "-uall", "--short"], cwd=root, capture_output=True, text=True)
    named = {line.split()[-1] for line in seen.stdout.splitlines()}
    assert {"raw/data/alone.jsonl.dvc", "raw/data/inbox.dvc", "raw/data/nested/june.jsonl.dvc"} <= named
    assert not named.intersection(files)


@pytest.mark.usefixtures("services")
def test_a_clone_has_the_same_digest_of_raw_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc add` writes files of its own, not all in git; no stage must run again because of them."""
    root = make_toy(tmp_path / "toy")
    shutil.copy(REPO / ".dvcignore", root)
    monkeypatch.chdir(root)
    write_files(root)
    with Repo() as repo:
        repo.add(["raw/data/inbox", "raw/data/nested/june.jsonl"])
        [raw] = repo.run(name="reads_all", cmd="true", deps=["raw/data"], no_exec=True).deps
        before = raw.get_hash()
        removed = untracked_by_git(root)
        assert any(path.name == ".gitignore" for path in removed)
        for path in removed:
            path.unlink()
        assert raw.get_hash() == before


def untracked_by_git(root: Path) -> list[Path]:
    """What a clone lacks below raw/data, without the data itself, which `dvc pull` brings."""
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "raw/data"]
    ignored = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    return [root / path for path in ignored if not path.endswith(".jsonl")]
