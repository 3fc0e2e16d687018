"""The lock of a checkout: one holder at a time, free as soon as its process is dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.orchestration import run_lock

HOLD = "import sys, time; from pathlib import Path; from pipelines.orchestration import run_lock\n"
HOLD += "with run_lock.hold(Path(sys.argv[1]), 'the-other-run'): print('held', flush=True); time.sleep(60)"


def start_holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_holder_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    assert run_lock.holder(tmp_path) is None
    process = start_holder(tmp_path)
    try:
        holder = run_lock.holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.host, holder.flow_run) == (
            process.pid,
            socket.gethostname(),
            "the-other-run",
        )
        mine = run_lock.hold(tmp_path)
        with pytest.raises(run_lock.BusyError, match=rf"process {process.pid} on .*the-other-run"), mine:
            pytest.fail("two runs hold the lock")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run_lock.holder(tmp_path) is None
    with run_lock.hold(tmp_path, "mine"):
        holder = run_lock.holder(tmp_path)
        assert holder is not None and (holder.pid, holder.flow_run) == (os.getpid(), "mine")
    assert run_lock.holder(tmp_path) is None


def test_who_waits_is_told_for_whom_and_goes_on_when_it_has_died(tmp_path: Path) -> None:
    process = start_holder(tmp_path)
    told: list[run_lock.Holder] = []

    def kill(holder: run_lock.Holder) -> None:
        told.append(holder)
        process.send_signal(signal.SIGKILL)

    started = time.monotonic()
    with run_lock.hold(tmp_path, "mine", waiting=kill):
        assert time.monotonic() - started < 5
    process.wait()
    assert {holder.pid for holder in told} == {process.pid}


def test_a_block_inside_of_another_one_only_names_its_run(tmp_path: Path) -> None:
    with run_lock.hold(tmp_path):
        with run_lock.hold(tmp_path, "flow run"):
            pass
        holder = run_lock.holder(tmp_path)
        assert holder is not None and holder.flow_run == "flow run"
        with pytest.raises(run_lock.BusyError):
            subprocess_hold(tmp_path)


def subprocess_hold(root: Path) -> None:
    """Take the lock in another process; raises what it raises there."""
    done = subprocess.run([sys.executable, "-c", HOLD, str(root)], capture_output=True, text=True, timeout=30)
    assert "BusyError" in done.stderr
    raise run_lock.BusyError(done.stderr)
