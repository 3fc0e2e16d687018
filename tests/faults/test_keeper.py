"""Every process below a keeper ends: with its command, with its starter, whatever it does to escape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import MARK, marked
from waiting import wait_for

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


Commands = Callable[[], dict[int, str]]
"""Processes, with their command lines, that have the mark of this test in their environment."""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv(MARK, str(tmp_path))
    # A new variable is not in the environment that /proc has of this process.
    return lambda: marked(str(tmp_path))


def start(commands: Commands) -> subprocess.Popen[str]:
    """A process that runs ESCAPES under a keeper, once its command has started."""
    process = subprocess.Popen([sys.executable, "-c", STARTER, ESCAPES], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    # A process that has just begun shows its environment an instant later.
    wait_for(lambda: len(commands()) == 4, 60, commands)  # and keeper, command, orphan
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_has_started_ends(number: int, commands: Commands) -> None:
    process = start(commands)
    process.send_signal(number)
    process.wait()
    wait_for(lambda: not commands(), 60, commands)


def test_what_a_command_leaves_behind_ends_with_it(commands: Commands, tmp_path: Path) -> None:
    lines: list[str] = []
    ProcessGroups(grace=0.5).run(["sh", "-c", "setsid sleep 600 & echo done"], tmp_path, lines.append)
    assert lines == ["done"] and commands() == {}


def test_status_of_a_command_that_a_signal_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        ProcessGroups().run(["sh", "-c", "kill -9 $$"], tmp_path, print)
    assert caught.value.status == 128 + signal.SIGKILL


def test_a_killed_keeper_takes_its_command_with_it(commands: Commands) -> None:
    process = start(commands)
    [keeper] = [pid for pid, command in commands().items() if "keeper.py" in command]
    os.kill(keeper, signal.SIGKILL)
    # The starter waits for its command, not for the orphan, which has left the group and has the output.
    assert process.wait(30) != 0
    wait_for(lambda: len(commands()) == 1, 60, commands)
    [orphan] = commands()
    os.kill(orphan, signal.SIGKILL)


def test_a_killed_keeper_leaves_nothing_of_its_group(commands: Commands, tmp_path: Path) -> None:
    # The shell of the group kills the keeper, its parent, and leaves a child that ignores SIGTERM.
    script = "trap '' TERM; sleep 600 & kill -9 $PPID; wait"
    with pytest.raises(CommandError) as caught:
        ProcessGroups().run(["sh", "-c", script], tmp_path, print)
    assert caught.value.status == -signal.SIGKILL
    wait_for(lambda: not commands(), 60, commands)
