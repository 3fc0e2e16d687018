"""A Prefect server, the checkout of a flow, and two clones of it with workers of the pools left and right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pool_checkouts import clone, share
from postgres_server import postgres_server
from prefect_api import PrefectApi
from processes import MARK
from servers import free_port, server
from waiting import wait_for

from pipelines.orchestration.process_group import end, kept

REPO = Path(__file__).parents[3]
LIMIT = 400
"""Seconds that a run may take on a busy machine."""
GRACE = 30.0
"""Seconds that a worker may take to end its runs."""
POOLS = ("left", "right")


@dataclass
class Farm:
    """The flow's checkout `root`, and a clone with a worker for each pool."""

    root: Path
    clones: dict[str, Path]
    api: PrefectApi
    environment: dict[str, str]
    workers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """An `hpt` command of the flow's checkout; its output goes to `output`."""
        with self.output.open("w") as output:
            command = [sys.executable, "-m", "pipelines.cli", *arguments]
            return subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> Path:
        return self.root.with_name("output")

    def hpt(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of a command that runs to its end."""
        process = self.start(*arguments)
        try:
            return process.wait(LIMIT), self.output.read_text()
        finally:
            process.kill()

    def start_worker(self, pool: str, folder: Path | None = None, name: str = "") -> None:
        """Start the worker of `pool`, in its clone unless another folder is given; its name is the pool's."""
        folder = folder or self.clones[pool]
        environment = self.environment | {"PREFECT_WORKER_QUERY_SECONDS": "1", MARK: str(folder)}
        with (self.root.parent / f"worker-{name or pool}.log").open("w") as log:
            command = [sys.executable, "-m", "pipelines.cli", "worker", "--pool", pool]
            self.workers[name or pool] = kept(command, log.fileno(), GRACE, environment, folder)

    def stop_worker(self, pool: str) -> None:
        end([self.workers.pop(pool)], GRACE)

    def kill_worker(self, pool: str) -> None:
        """SIGKILL the worker and the flow run that it has started, as a machine that dies does."""
        process = self.workers.pop(pool)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @contextmanager
    def held(self, pool: str, stage: str) -> Iterator[None]:
        """The stage waits in the clone of `pool` until the block ends."""
        hold = self.clones[pool] / "logs/hold" / stage
        hold.parent.mkdir(parents=True, exist_ok=True)
        hold.touch()
        began = self.clones[pool] / "logs/began" / stage
        began.unlink(missing_ok=True)
        try:
            yield
        finally:
            hold.unlink()

    def wait_until_begun(self, pool: str, stage: str, run: subprocess.Popen[bytes]) -> None:
        began = self.clones[pool] / "logs/began" / stage
        wait_for(lambda: run.poll() is not None or began.exists(), LIMIT, self.output.read_text)
        assert run.poll() is None, self.output.read_text()

    def stage_runs(self) -> list[dict[str, Any]]:
        """The flow runs of stages, the oldest first."""
        wanted = {"flows": {"name": {"any_": ["hpt-stage"]}}, "sort": "START_TIME_ASC"}
        runs: list[dict[str, Any]] = self.api.post("flow_runs/filter", wanted)
        return runs


@contextmanager
def farm_of(root: Path) -> Iterator[Farm]:
    """The farm of the committed project in `root`, which must not have a DVC remote of its own."""
    folder = root.parent
    share(root, folder / "remote")
    clones = {pool: clone(root, folder / pool) for pool in POOLS}
    kept_variables = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept_variables | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    port = free_port()
    api = PrefectApi(f"http://127.0.0.1:{port}/api")
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with postgres_server() as database:
        # On SQLite, Prefect before 3.8.6 may block itself while an automation is written (prefect#23055).
        url = f"postgresql+asyncpg://hpt@/postgres?host={database}"
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        with server(command, folder / "server.log", lambda: api.get("health"), environment):
            environment["PREFECT_API_URL"] = api.url
            made = Farm(root, clones, api, environment)
            try:
                yield made
            finally:
                for pool in list(made.workers):
                    made.stop_worker(pool)


@pytest.fixture(scope="module")
def farm(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """The farm of a toy project, each of whose arms has a pool."""
    root = tmp_path_factory.mktemp("farm") / "flow"
    shutil.copytree(reproduced, root, symlinks=True)
    shutil.copytree(REPO / "infra/job_templates", root / "infra/job_templates")
    params = root / "params.yaml"
    pools = "pools: {train@program: left, train@human: right}\n"
    params.write_text(f"{params.read_text()}{pools}alerts: {{crashed_after_s: 60}}\n")
    with farm_of(root) as made:
        yield made
