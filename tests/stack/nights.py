"""Runs of a toy project by the worker of a stack, and what every record must say once they are over."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from running_stack import Stack
from toy_project import REPO
from waiting import wait_for

ZOMBIES = 300
"""Seconds after which no record may say that a run goes on which does not."""
NIGHT = 900
"""Seconds that a run may take on a busy machine."""
OVER = ("Completed", "Unchanged", "Failed", "Crashed", "Cancelled")
SERVERS = ("postgres", "s3", "prefect", "mlflow", "worker")
PARTS = {"stage": "stages.py", "dvc": "-m dvc", "flow": "pipelines.cli.flow_run"}
"""Process of a run -> words of its command line."""


@dataclass
class Nights:
    """A checkout with a stack whose deployments run one after the other."""

    stack: Stack
    undisturbed: str
    """dvc.lock after a run of three steps that nothing disturbed."""
    duration: float
    """Seconds of a run that trains."""
    steps: int = 3

    def begin(self) -> str:
        """Make the arms out of date, and start a night; its id, once it runs."""
        self.steps += 1
        params = self.stack.root / "params.yaml"
        params.write_text(re.sub(r"steps: \d+", f"steps: {self.steps}", params.read_text()))
        run = self.stack.prefect.start("hpt/nightly")
        begun = ("Running", *OVER)
        wait_for(lambda: self.stack.run_state(run) in begun, NIGHT, lambda: self.stack.run_state(run))
        assert self.stack.run_state(run) == "Running"
        return run

    def end(self, run: str) -> str:
        """The state of a night that is over."""
        wait_for(lambda: self.stack.run_state(run) in OVER, NIGHT, lambda: self.stack.run_state(run))
        return self.stack.run_state(run)

    def processes(self, victim: str) -> list[psutil.Process]:
        """The living processes that a part of a run or a server consists of, the leader of a server only."""
        if victim in SERVERS:
            return [psutil.Process(self.stack.state.leaders[victim].pid)]
        return [process for process in self.stack.processes() if PARTS[victim] in _command(process)]

    def healthy(self) -> bool:
        state = self.stack.state
        return all(name in state.healthy and state.leaders[name].alive() for name in SERVERS)

    def check_the_next_night(self) -> None:
        """`hpt run` completes what was disturbed, and every record is true afterwards."""
        stack = self.stack
        disturbed = time.monotonic()
        stack.hpt("run", timeout=NIGHT)
        expected = self.undisturbed.replace("steps: 3", f"steps: {self.steps}")
        assert (stack.root / "dvc.lock").read_text() == expected
        wait_for(lambda: not self.running(), ZOMBIES - (time.monotonic() - disturbed), self.running)
        assert not self.doubled()
        assert [_command(process) for part in PARTS for process in self.processes(part)] == []
        compared = stack.hpt("compare").stdout
        assert all(name in compared for name in ("base", "program", "human")), compared

    def running(self) -> list[tuple[str, ...]]:
        """The runs that a record calls running; none runs when this is asked."""
        # A task whose upstream task failed stays NotReady, which Prefect counts as pending.
        query = (
            "SELECT name, state_name FROM {} WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING') "
            "AND state_name <> 'NotReady'".format
        )
        return [
            *self.stack.rows("PREFECT", query("flow_run")),
            *self.stack.rows("PREFECT", query("task_run")),
            *self.stack.rows("MLFLOW", "SELECT name, status FROM runs WHERE status = 'RUNNING'"),
        ]

    def doubled(self) -> list[tuple[str, ...]]:
        """What was published, or registered, more than once."""
        published = (
            "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'content' AND status = 'FINISHED' "
            "GROUP BY value HAVING count(*) > 1"
        )
        versions = (
            "SELECT value FROM model_version_tags WHERE key = 'content' GROUP BY name, value "
            "HAVING count(*) > 1"
        )
        return [*self.stack.rows("MLFLOW", published), *self.stack.rows("MLFLOW", versions)]

    @contextmanager
    def held(self, stage: str) -> Iterator[tuple[str, Path]]:
        """A night that has come to `stage`, which waits during the block, or until the file is removed."""
        began, hold = (self.stack.root / "logs" / name / stage for name in ("began", "hold"))
        began.unlink(missing_ok=True)
        hold.parent.mkdir(parents=True, exist_ok=True)
        hold.touch()
        try:
            run = self.begin()
            wait_for(began.exists, NIGHT)
            yield run, hold
        finally:
            hold.unlink(missing_ok=True)

    @contextmanager
    def stopped(self, server: str) -> Iterator[None]:
        """A server does nothing during the block, and its ports stay open (SIGSTOP)."""
        members = [process for process in self.stack.processes() if _server(process) == server]
        for process in members:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in members:
                process.send_signal(signal.SIGCONT)


def deployed(stack: Stack) -> Nights:
    """The project of a running stack with its deployments, after a first night."""
    shutil.copytree(REPO / "infra" / "job_templates", stack.root / "infra" / "job_templates")
    stack.hpt("deploy")
    stack.hpt("run", timeout=NIGHT)
    nights = Nights(stack, (stack.root / "dvc.lock").read_text(), 0.0)
    run = nights.begin()
    began = time.monotonic()
    state = nights.end(run)
    assert state == "Completed", state
    nights.duration = time.monotonic() - began
    return nights


def _command(process: psutil.Process) -> str:
    """The command line; of a keeper, which has that of its command as arguments, nothing."""
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return "" if "keeper.py" in command else command


def _server(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("HPT_STACK_SERVER")
    except psutil.Error:
        return None
