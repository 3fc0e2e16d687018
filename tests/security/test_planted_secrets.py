"""A run with planted secrets in its environment leaves none of them in anything that it writes or shows."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from toy_project import clean_environment, make_toy

pytestmark = pytest.mark.slow

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPL4NTEDPL4NTED",
    "AWS_SECRET_ACCESS_KEY": "pl4nted/aws+secret",
    "OPENAI_API_KEY": "sk-pl4nted-openai",
    "HF_TOKEN": "hf_pl4ntedtoken",
    "PREFECT_API_AUTH_STRING": "admin:pl4nted-auth",
    "HPT_WEBHOOK_URL": "https://hooks.example/services/pl4nted-hook",
    "POSTGRES_PASSWORD": "pl4nted-postgres",
}
MARKS = (b"pl4nted", b"PL4NTED")


def run(root: Path, *arguments: str, **variables: str) -> tuple[int, bytes, set[bytes]]:
    """Exit status, output, and every command line that was seen while `hpt` ran."""
    environment = clean_environment(**SECRETS, DVC_SITE_CACHE_DIR=str(root / ".site"), **variables)
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    seen: set[bytes] = set()
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(seen, ended))
    watcher.start()
    try:
        output, _ = process.communicate(timeout=540)
    finally:
        process.kill()
        ended.set()
        watcher.join()
    return process.returncode, output, seen


def watch(seen: set[bytes], ended: threading.Event) -> None:
    while not ended.wait(0.05):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # The process has ended.
                seen.add(file.read_bytes())


def marked(root: Path) -> list[str]:
    """Files in which a secret stands, whatever their format."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 30
    return [str(path.relative_to(root)) for path in files if any(m in path.read_bytes() for m in MARKS)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("secrets") / "toy")


def test_a_run_leaves_no_secret(root: Path) -> None:
    status, output, commands = run(root, "run")
    assert status == 0, output.decode()
    assert (root / "mlflow.db").is_file() and (root / ".prefect").is_dir() and (root / "dvc.lock").is_file()
    assert marked(root) == []
    assert not [mark for mark in MARKS if mark in output]
    assert len(commands) > 5 and not [line for line in commands if any(mark in line for mark in MARKS)]


def test_a_server_that_does_not_answer_is_named_without_its_password(root: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://ann:pl4nted-password@127.0.0.1:{closed.getsockname()[1]}"
        status, output, commands = run(root, "publish", MLFLOW_TRACKING_URI=uri)
    assert status != 0 and b"127.0.0.1" in output, output.decode()
    assert not [mark for mark in MARKS if mark in output]
    assert not [line for line in commands if any(mark in line for mark in MARKS)]
    assert marked(root) == []
