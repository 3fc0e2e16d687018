"""A push to S3 that fails says why in one line, as the store says it, and is tried again where that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import KEY, SECRET, client, s3_server
from toy_project import REPO

from pipelines.orchestration import push as push_module

PUSH = "from pipelines.orchestration import push; push.DELAYS = (0.1,); push.main()"
FILES = 30


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with files that no remote has."""
    root = tmp_path_factory.mktemp("pushed")
    (root / "raw").mkdir()
    for number in range(FILES):
        (root / "raw" / str(number)).write_text(f"{number}")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    dvc(root, "add", "-q", "raw")
    dvc(root, "remote", "add", "-q", "-d", "team", "s3://plain/pushed")
    return root


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)


def push(root: Path, url: str, key: str = KEY, secret: str = SECRET) -> tuple[int, list[str]]:
    """Exit status and lines of a push."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    access = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret} if key else {}
    offline = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", PUSH],
        cwd=root,
        env={**kept, **access, **offline, "AWS_ENDPOINT_URL": url, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(("key", "secret"), [("", ""), ("nobody", SECRET), (KEY, "wrong-secret")])
def test_credentials_that_are_missing_or_wrong(data: Path, s3_url: str, key: str, secret: str) -> None:
    status, [line] = push(data, s3_url, key, secret)
    assert status == 1 and ("403" in line if key else "Unable to locate credentials" in line)
    assert "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line and "wrong-secret" not in line
    assert line.endswith("push again with: hpt push")


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ('Could not connect to the endpoint URL: "http://127.0.0.1:40321/plain/54041"', False),
        ("An error occurred (403) when calling the HeadObject operation: Forbidden", True),
        ("An error occurred (ExpiredToken) when calling the PutObject operation", True),
    ],
)
def test_a_port_is_no_status(reason: str, refused: bool) -> None:
    assert bool(push_module.REFUSED.search(reason)) == refused
    assert not push_module.ABSENT.search(reason)


@pytest.mark.slow
def test_a_bucket_that_does_not_exist(data: Path, s3_url: str) -> None:
    dvc(data, "remote", "modify", "-q", "team", "url", "s3://nothing/pushed")
    status, [line] = push(data, s3_url)
    dvc(data, "remote", "modify", "-q", "team", "url", "s3://plain/pushed")
    assert status == 1 and "bucket does not exist" in line.lower() and "s3://nothing" in line


@pytest.mark.slow
def test_a_store_that_is_away_is_tried_again_and_then_takes_everything(data: Path, s3_url: str) -> None:
    status, [first, last] = push(data, "http://127.0.0.1:9")
    assert status == 1 and "127.0.0.1:9" in last and last.endswith("push again with: hpt push")
    assert "trying again in" in first
    status, lines = push(data, s3_url)
    assert (status, lines[-1]) == (0, f"{FILES + 1} files pushed")
    found = client(s3_url).list_objects_v2(Bucket="plain", Prefix="pushed/")
    assert found["KeyCount"] == FILES + 1
