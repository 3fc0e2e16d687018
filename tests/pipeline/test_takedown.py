"""The takedown of docs/data.md with the real DVC and git: afterwards no file, cache or remote has the row."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

IDENTITY = ("-c", "user.name=toy", "-c", "user.email=toy@example.org")
STAYS, GOES = '{"solution": "stays"}\n', '{"solution": "must-go-7f3a"}\n'
STAGES = """
stages:
  experts:
    cmd: mkdir -p data && cp raw/data/crowd.jsonl data/experts.jsonl
    deps: [raw/data]
    outs: [data/experts.jsonl]
  train:
    cmd: mkdir -p models && cp data/experts.jsonl models/weights
    deps: [data/experts.jsonl]
    outs: [models/weights]
"""


def test_a_demonstration_is_gone_after_its_takedown(
    services: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, remote = tmp_path / "project", tmp_path / "remote"
    (root / "raw/data").mkdir(parents=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    def run(*command: str, cwd: Path = root) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)

    def repeat(message: str) -> None:
        for command in ("dvc add -q raw/data/crowd.jsonl", "dvc repro -q", "dvc push -q", "git add -A"):
            assert run(*command.split()).returncode == 0
        assert (
            run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message).returncode == 0
        )

    def holding() -> list[str]:
        """Files of the project and the remote that hold the demonstration."""
        files = [path for folder in (root, remote) for path in folder.rglob("*") if path.is_file()]
        return [str(path) for path in files if b"must-go-7f3a" in path.read_bytes()]

    for command in ("git init -q", "dvc init -q", f"dvc remote add -q -d shared {remote}"):
        assert run(*command.split()).returncode == 0
    (root / "dvc.yaml").write_text(STAGES)
    (root / "raw/data/crowd.jsonl").write_text(STAYS + GOES)
    repeat("before")
    assert len(holding()) == 5  # the file, both outputs, cache and remote
    (root / "raw/data/crowd.jsonl").unlink()
    (root / "raw/data/crowd.jsonl").write_text(STAYS)
    repeat("after")
    assert len(holding()) == 2  # cache and remote
    assert run("dvc", "gc", "-q", "--workspace", "--cloud", "--force").returncode == 0
    assert holding() == []
    # The proof of docs/data.md: a clone of the old commit gets its data no more, one of the new commit does.
    for commit, status in (("HEAD~1", 1), ("HEAD", 0)):
        clone = tmp_path / commit.replace("~", "")
        assert run("git", "clone", "-q", str(root), str(clone)).returncode == 0
        assert (
            run("git", "checkout", "-q", run("git", "rev-parse", commit).stdout.strip(), cwd=clone).returncode
            == 0
        )
        assert (run("dvc", "pull", "-q", cwd=clone).returncode != 0) == bool(status)
