"""Every process below a keeper ends: with its command, with its starter, whatever it does to escape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.orchestration.process_group import CommandError, ProcessGroups

ESCAPES = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
print("started", flush=True)
time.sleep(600)
"""
"""A command that ignores SIGTERM, with an orphan of its own in another session."""

STARTER = """
import sys
from pathlib import Path
from pipelines.orchestration.process_group import ProcessGroups
command = [sys.executable, "-c", sys.argv[1]]
ProcessGroups(grace=0.5).run(command, Path("."), lambda line: print(line, flush=True))
"""


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[int]]:
    """The processes that a test has started, itself excepted, found by a mark in their environment."""
    mark = f"HPT_TEST_MARK={tmp_path}".encode()
    monkeypatch.setenv("HPT_TEST_MARK", str(tmp_path))

    def find() -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    return find


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def start(output: Callable[[str], object]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", STARTER, ESCAPES], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output(process.stdout.readline())
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_has_started_ends(number: int, left: Callable[[], list[int]]) -> None:
    lines: list[str] = []
    process = start(lines.append)
    # A process that has just begun shows its environment an instant later.
    assert lines == ["started\n"] and wait_until(lambda: len(left()) == 4)  # starter, keeper, command, orphan
    process.send_signal(number)
    process.wait()
    assert wait_until(lambda: not left())


def test_what_a_command_leaves_behind_ends_with_it(left: Callable[[], list[int]], tmp_path: Path) -> None:
    lines: list[str] = []
    ProcessGroups(grace=0.5).run(["sh", "-c", "setsid sleep 600 & echo done"], tmp_path, lines.append)
    assert lines == ["done"] and left() == []


def test_status_of_a_command_that_a_signal_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        ProcessGroups().run(["sh", "-c", "kill -9 $$"], tmp_path, print)
    assert caught.value.status == 128 + signal.SIGKILL


def test_a_killed_keeper_takes_its_command_with_it(left: Callable[[], list[int]]) -> None:
    process = start(lambda line: None)
    assert wait_until(lambda: len(left()) == 4)
    [keeper] = [pid for pid in left() if b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(keeper, signal.SIGKILL)
    # The orphan, which has left the group too, is out of reach only here, where two processes were killed. It
    # has the output of the command, so the starter waits for it.
    assert wait_until(lambda: len(left()) == 2)
    [orphan] = [pid for pid in left() if pid != process.pid]
    assert Path(f"/proc/{orphan}/stat").read_text().split()[5] != str(keeper), (
        "a process of the group is left"
    )
    os.kill(orphan, signal.SIGKILL)
    assert process.wait(30) != 0
