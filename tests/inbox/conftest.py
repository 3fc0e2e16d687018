"""A project with an inbox in a bucket of its own on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from inbox_project import REPO, Project, RunPoll, write_params
from s3_server import KEY, SECRET, client, s3_server


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running SeaweedFS; it ends with the tests."""
    with s3_server(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture
def project(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose inbox has a prefix of its own in the bucket `plain`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    root = tmp_path / "project"
    (root / "raw/data").mkdir(parents=True)
    project = Project(root, "plain", f"team/{os.urandom(6).hex()}", client(s3_url))
    write_params(root, project.url)
    monkeypatch.chdir(root)
    return project


@pytest.fixture
def run_poll(project: Project) -> RunPoll:
    """Poll in a process of its own, which is killed (SIGKILL) after the step `until`, if that comes."""

    def run(until: str = "", root: Path | None = None) -> subprocess.CompletedProcess[str]:
        code = (
            "import os, sys; from pathlib import Path; from pipelines.inbox.poll import poll\n"
            "kill = lambda name, key: name == sys.argv[1] and os.kill(os.getpid(), 9)\n"
            "print(poll(Path('.'), kill))"
        )
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        return subprocess.run(
            [sys.executable, "-c", code, until],
            cwd=root or project.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
