"""The worker of the process pool, which starts the flows of its checkout and nothing else.

Prefect's own worker takes command and folder from the work pool. When a run was cancelled or has crashed, it
executes the pull steps and imports the code of the run's deployment to look for hooks. Whoever reaches the
API of the server can write all of these.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import prefect.runner.runner
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from pipelines.deployment import server
from pipelines.deployment.specification import POOL, STAGE_OPTION

COMMAND = f"{shlex.quote(sys.executable)} -m pipelines.cli.flow_run"


with warnings.catch_warnings():
    # Prefect warns that this worker takes the place of its own one.
    warnings.simplefilter("ignore", UserWarning)

    class CheckoutWorker(ProcessWorker):
        """A process worker with a fixed command, folder and environment."""

        of_flow = True
        """Whether it runs the flow and its parts; else one stage at a time, which has the checkout alone."""

        async def run(
            self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
        ) -> ProcessWorkerResult:
            """Run a flow run of the pool in this checkout, whatever the pool's template says."""
            configuration.command = COMMAND if self.of_flow else f"{COMMAND} {STAGE_OPTION}"
            configuration.working_dir = Path.cwd()
            configuration.env = dict(os.environ)
            return await super().run(flow_run, configuration, task_status)


def work(name: str | None, pool: str) -> None:
    """Take the runs of the process pool `pool` until a signal comes; any pool but POOL is one of stages."""
    with server.connect():
        pass  # One line where no server answers.
    vars(prefect.runner.runner)["load_flow_from_flow_run"] = _flow_without_hooks
    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    worker = CheckoutWorker(pool, name=name, limit=None if pool == POOL else 1)
    worker.of_flow = pool == POOL
    asyncio.run(worker.start())


async def _flow_without_hooks(flow_run: FlowRun, **_: Any) -> Flow[..., Any]:
    """In place of Prefect's search for hooks; the flows of this project run theirs in their own process."""
    return Flow(fn=_flow_without_hooks, name="hpt")
