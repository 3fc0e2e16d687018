"""A toy checkout whose runs are disturbed, and what is left: processes, states in Prefect and MLflow."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from processes import MARK, marked
from toy_project import clean_environment
from waiting import wait_for

from pipelines.orchestration.keeper import end_with_parent

LIMIT = 400
"""Seconds that a run may take on a busy machine."""


class Checkout:
    """A toy project whose arms are out of date, and the `hpt` commands that are run in it."""

    def __init__(self, root: Path, reproduced: Path) -> None:
        """reproduced: a toy project that is up to date, of which this is a copy in `root`."""
        self.root = shutil.copytree(reproduced, root, symlinks=True)
        shutil.rmtree(root / "logs")
        (root / "mlflow.db").unlink()  # so that a kill may meet the run that creates it
        self.make_stale()
        self.env = clean_environment(**{MARK: str(root), "OMP_NUM_THREADS": "1"})
        self.output = root.with_name(f"{root.name}.log")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        with self.output.open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli", *arguments],
                cwd=self.root,
                env={**self.env, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )

    def hpt(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Exit status and output of a command that runs to its end."""
        process = self.start(*arguments, **variables)
        try:
            return process.wait(LIMIT), self.output.read_text()
        finally:
            process.kill()

    def start_until(self, stage: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """A run that has come to `stage` and hangs there, with a child that ignores SIGTERM."""
        child = self.root / "logs" / "child" / stage
        child.unlink(missing_ok=True)
        run = self.start(*(arguments or ("run",)), TOY_HANG=stage, **variables)
        wait_for(lambda: run.poll() is not None or child.read_text(), LIMIT, self.output.read_text)
        assert run.poll() is None, self.output.read_text()
        return run

    def release(self, stage: str) -> None:
        """Let a stage that hangs go on."""
        os.kill(int((self.root / "logs" / "child" / stage).read_text()), signal.SIGKILL)

    def processes(self, *words: str) -> list[int]:
        """The living processes of this checkout whose command line has all `words`."""
        commands = marked(str(self.root))
        return [pid for pid, command in commands.items() if all(word in command for word in words)]

    def nothing_is_left(self, seconds: float = 20) -> bool:
        """True as soon as every process of the checkout has ended; fails after `seconds`."""
        return bool(wait_for(lambda: not self.processes(), seconds, lambda: marked(str(self.root))))

    def end_all(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def make_stale(self) -> None:
        """Make the arms out of date: they train one step more, which gives the same models."""
        params = self.root / "params.yaml"
        self.steps = int(re.findall(r"steps: (\d+)", params.read_text())[0]) + 1
        params.write_text(re.sub(r"steps: \d+", f"steps: {self.steps}", params.read_text()))

    def results(self) -> str:
        """The hash of every output, as DVC has it, under the parameters of the project that was copied."""
        return (self.root / "dvc.lock").read_text().replace(f"steps: {self.steps}", "steps: 3")

    def flow_runs(self) -> Counter[str]:
        """State -> flow runs in Prefect's database."""
        return self._count(".prefect/prefect.db", "SELECT state_name, count(*) FROM flow_run GROUP BY 1")

    def task_runs(self) -> Counter[str]:
        return self._count(".prefect/prefect.db", "SELECT state_name, count(*) FROM task_run GROUP BY 1")

    def mlflow_runs(self) -> Counter[str]:
        """Status -> runs in MLflow."""
        return self._count("mlflow.db", "SELECT status, count(*) FROM runs GROUP BY 1")

    def last_end_in_mlflow(self) -> float:
        """When the last run in MLflow ended by the clock of who ended it, in seconds since 1970."""
        [(milliseconds,)] = self._rows("mlflow.db", "SELECT max(end_time) FROM runs")
        return float(milliseconds) / 1000

    def _count(self, database: str, query: str) -> Counter[str]:
        return Counter(dict(self._rows(database, query)))

    def _rows(self, database: str, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.root / database, timeout=30)) as connection:
            return connection.execute(query).fetchall()
