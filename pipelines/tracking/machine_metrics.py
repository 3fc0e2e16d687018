"""Use of the machine between the steps of training, under MLflow's names for system metrics."""

from __future__ import annotations

import threading
from typing import Any

INTERVAL = 5.0
"""Seconds between two readings."""


class MachineMetrics:
    """Reads the use of processor, memory, disk, network and GPUs in a thread of its own."""

    def __init__(self) -> None:
        self._monitors = _monitors()
        self._lock = threading.Lock()
        self._read()  # The first reading of the processor's use has no meaning.
        self._clear()
        threading.Thread(target=self._keep_reading, daemon=True, name="machine").start()

    def since_last(self) -> dict[str, float]:
        """Means since the last call; for the network, megabytes since the start."""
        self._read()
        with self._lock:
            means = {f"system/{k}": v for m in self._monitors for k, v in m.aggregate_metrics().items()}
        self._clear()
        return means

    def _keep_reading(self) -> None:
        while True:
            threading.Event().wait(INTERVAL)
            self._read()

    def _read(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.collect_metrics()

    def _clear(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.clear_metrics()


def _monitors() -> list[Any]:
    """MLflow's monitors for what this machine has: none without psutil, none of GPUs without NVML."""
    try:
        from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, gpu_monitor, network_monitor
    except ImportError:
        return []
    gpu: Any = gpu_monitor.GPUMonitor
    kinds: list[Any] = [cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor]
    monitors = [kind() for kind in kinds]
    try:
        return [*monitors, gpu()]
    except (ImportError, RuntimeError):
        return monitors
