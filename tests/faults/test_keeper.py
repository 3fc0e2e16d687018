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
middle = os.fork()
if middle == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.waitpid(middle, 0)
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


class Marked:
    """Processes that have a mark of this test in their environment, the test's own process excepted."""

    def __init__(self, mark: str) -> None:
        self.environment = os.environ | {"HPT_TEST_MARK": mark}

    def commands(self) -> dict[int, str]:
        """Process -> its command line."""
        mark = f"HPT_TEST_MARK={self.environment['HPT_TEST_MARK']}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def start(self) -> subprocess.Popen[str]:
        """A process that runs ESCAPES under a keeper, once its command has started."""
        command = [sys.executable, "-c", STARTER, ESCAPES]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        # A process that has just begun shows its environment an instant later.
        assert wait_until(lambda: len(self.commands()) == 4), self.commands()  # and keeper, command, orphan
        return process


@pytest.fixture
def marked(tmp_path: Path) -> Marked:
    return Marked(str(tmp_path))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_has_started_ends(number: int, marked: Marked) -> None:
    process = marked.start()
    process.send_signal(number)
    process.wait()
    assert wait_until(lambda: not marked.commands()), marked.commands()


def test_what_a_command_leaves_behind_ends_with_it(
    marked: Marked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HPT_TEST_MARK", str(tmp_path))
    lines: list[str] = []
    ProcessGroups(grace=0.5).run(["sh", "-c", "setsid sleep 600 & echo done"], tmp_path, lines.append)
    assert lines == ["done"] and marked.commands() == {}


def test_status_of_a_command_that_a_signal_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        ProcessGroups().run(["sh", "-c", "kill -9 $$"], tmp_path, print)
    assert caught.value.status == 128 + signal.SIGKILL


def test_a_killed_keeper_takes_its_command_with_it(marked: Marked) -> None:
    process = marked.start()
    [keeper] = [pid for pid, command in marked.commands().items() if "keeper.py" in command]
    os.kill(keeper, signal.SIGKILL)
    # The starter waits for its command, not for the orphan, which has left the group and has the output.
    assert process.wait(30) != 0
    assert wait_until(lambda: len(marked.commands()) == 1), marked.commands()
    [orphan] = marked.commands()
    os.kill(orphan, signal.SIGKILL)


def test_a_killed_keeper_leaves_nothing_of_its_group(
    marked: Marked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HPT_TEST_MARK", str(tmp_path))
    # The shell of the group kills the keeper, its parent, and leaves a child that ignores SIGTERM.
    script = "trap '' TERM; sleep 600 & kill -9 $PPID; wait"
    with pytest.raises(CommandError) as caught:
        ProcessGroups().run(["sh", "-c", script], tmp_path, print)
    assert caught.value.status == -signal.SIGKILL
    assert wait_until(lambda: not marked.commands()), marked.commands()
