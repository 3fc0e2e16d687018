"""A step that samples while it trains, beside the serial loop with the same threads."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch

from pipelines import train
from tests.bench.runs.embedded import changed, ready_to_train
from tests.bench.table import seconds, show

STEPS, PAIRS = 12, 3
SERIAL: list[str] = []
OVERLAPPING = ["+rollout.lag=1", "+rollout.placement=separate"]


class Times:
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.ends.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        """Seconds of each step that has one like it before and after: the second to the last but one."""
        return [end - begin for begin, end in zip(self.ends[:-2], self.ends[1:-1], strict=True)]


def separate_sampler(_: Path | None) -> None:
    """Compare the embedded recipe's step with lag 0 in one process and with lag 1 in two, one thread each."""
    serial: list[float] = []
    overlapping: list[float] = []
    ratios = []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = ready_to_train(Path(folder))
        for _pair in range(PAIRS):
            pair = []
            for ways, found in ((SERIAL, serial), (OVERLAPPING, overlapping)):
                steps = [f"train.steps={STEPS}", f"train.dev_every={STEPS}"]
                times = Times()
                train.run(changed(Path(folder), [*ways, *steps]), "program", paths, sinks=[times])
                found += times.steps
                pair.append(median(times.steps))
            ratios.append(pair[0] / pair[1])
    show(
        f"The embedded recipe's step, one thread a process, {PAIRS} alternating pairs of runs",
        ["lag 0, one process", "lag 1, sampler apart", "times as fast", "required"],
        [
            [
                seconds(serial),
                seconds(overlapping),
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                "1.4",
            ]
        ],
    )
