"""What somebody has versioned with `dvc add` below raw/data is in git's reach and in DVC's, and only that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo
from toy_project import make_toy


@pytest.mark.usefixtures("services")
def test_git_sees_the_dvc_files_and_push_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC asks git's rules for each folder, and passes over one that is ignored."""
    root = make_toy(tmp_path / "toy")
    monkeypatch.chdir(root)
    for name in ("inbox/crowd/may.jsonl", "nested/june.jsonl", "alone.jsonl"):
        path = root / "raw" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with Repo() as repo:
        repo.add(["raw/data/inbox", "raw/data/nested/june.jsonl", "raw/data/alone.jsonl"])
        files = "raw/data/alone.jsonl", "raw/data/inbox/crowd/may.jsonl", "raw/data/nested/june.jsonl"
        assert repo.push() == 4, "three files, and the list of the folder"
    seen = subprocess.run(["git", "status", "-uall", "--short"], cwd=root, capture_output=True, text=True)
    named = {line.split()[-1] for line in seen.stdout.splitlines()}
    assert {"raw/data/alone.jsonl.dvc", "raw/data/inbox.dvc", "raw/data/nested/june.jsonl.dvc"} <= named
    assert not named.intersection(files)
