"""Training as it happens: every step goes to a file beside the outputs, and to MLflow where it is there.

The file has what the outputs must not have, since it differs from run to run: speed, and what the machine was
doing. Publishing reads it, so that a run that MLflow missed ends up like one that it saw.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException

from hpt_core.errors import InputError
from pipelines.params import load_params
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.mlflow_store import COMPLETE, Run, Store
from pipelines.tracking.publish import FLOW_RUN, FLOW_RUN_NAME, UNREACHABLE, Parent, child
from pipelines.tracking.run_data import step_log

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks at the machine."""


class LiveSink:
    """Sends the metrics of each training step to the arm's run, as `hpt_core.protocols.MetricSink`.

    Outside a flow run it sends nothing: `hpt publish` does. Where the run cannot be opened, or MLflow be
    reached, it says so once and training goes on; publishing completes the run from the files.
    """

    def __init__(self, arm: str, root: Path = Path(".")) -> None:
        self._run: Run | None = None
        self._last = -1
        self._path = step_log(root, arm)
        self._machine = Machine()
        if FLOW_RUN not in os.environ:
            logger.info("not in a flow run: `hpt publish` sends the metrics to MLflow afterwards")
            return
        try:
            self._open(arm, root)
        # Opening reads dvc.lock and tables too, and none of that is worth a training run.
        except (*UNREACHABLE, DvcException, InputError, OSError) as error:
            self._give_up(error)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        row = {"step": step, **metrics, **self._machine.since_last()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A run that starts anew has no use for the steps of the one before.
        with self._path.open("w" if step == 1 else "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._run is None or step <= self._last:
            return
        try:
            self._store.log_steps(self._run, [row])
        except UNREACHABLE as error:
            self._give_up(error)

    def _open(self, arm: str, root: Path) -> None:
        entry = dvc_lock.live_entry(root, f"train@{arm}")
        record = run_data.describe(root, arm, entry, dvc_lock.read_lock(root))
        self._store = Store(root, load_params(root / "params.yaml").tracking.experiment)
        with self._store.exclusive():
            run = self._store.find(content=record.content)
            if run is not None and COMPLETE in run.data.tags:
                return  # the same arm was trained elsewhere and is published whole
            parent = Parent(self._store, root, os.environ[FLOW_RUN], os.environ.get(FLOW_RUN_NAME))
            self._run = child(self._store, root, record, run, parent.run)
        self._last = self._store.last_step(self._run)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        reached = not isinstance(error, UNREACHABLE)
        logger.warning(
            "%s (%s). Training goes on and its metrics are kept in files; `hpt publish` sends them %s.",
            "The metrics of this run cannot be sent live" if reached else "MLflow cannot be reached",
            (str(error) or repr(error)).splitlines()[0][:200],
            "once that is mended" if reached else "once the server is back",
        )


class Machine:
    """Use of processor, memory, disk, network and GPUs, under MLflow's names for system metrics."""

    def __init__(self) -> None:
        self._monitors = _monitors()
        self._lock = threading.Lock()
        self._look()  # the first reading of the processor's use means nothing
        self._clear()
        threading.Thread(target=self._watch, daemon=True, name="machine").start()

    def since_last(self) -> dict[str, float]:
        """Means since the last call; of the network, megabytes since the start."""
        self._look()
        with self._lock:
            found = {f"system/{k}": v for m in self._monitors for k, v in m.aggregate_metrics().items()}
        self._clear()
        return found

    def _watch(self) -> None:
        while True:
            threading.Event().wait(EVERY)
            self._look()

    def _look(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.collect_metrics()

    def _clear(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.clear_metrics()


def _monitors() -> list[Any]:
    """Those that this machine has: none without psutil, none of GPUs without NVML."""
    try:
        from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, gpu_monitor, network_monitor
    except ImportError:
        return []
    of_gpus: Any = gpu_monitor.GPUMonitor
    kinds: list[Any] = [cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor]
    monitors = [kind() for kind in kinds]
    try:
        return [*monitors, of_gpus()]
    except (ImportError, RuntimeError):
        return monitors
