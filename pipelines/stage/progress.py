"""The progress of a stage: a bar on a terminal, or else a log line for every tenth of the work."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class ProgressBar:
    """Counts `total` units of work, of which an earlier run did `before`; a context manager."""

    def __init__(self, description: str, total: int, before: int = 0) -> None:
        console = Console(stderr=True)
        self.description, self.total, self.before, self.done = description, total, before, before
        self.tokens = 0
        self.started = time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(description, total=total, completed=before, note="")

    def __enter__(self) -> ProgressBar:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def skip(self, count: int) -> None:
        """Count units that an earlier run did; they do not enter the rate."""
        self.before += count
        self.done += count
        self.bar.update(self.task, completed=self.done)

    def advance(self, count: int = 1, tokens: int = 0, /, **notes: float) -> None:
        """Count units of this run and the tokens that they generated; `notes` are shown beside the count."""
        tenth = 10 * self.done // self.total
        self.done += count
        self.tokens += tokens
        seconds = time.perf_counter() - self.started
        rate = [f"{self.tokens / seconds:.0f} tokens/s"] if self.tokens else []
        note = "  ".join([*rate, *(f"{name} {value:.3g}" for name, value in notes.items())])
        self.bar.update(self.task, completed=self.done, note=note)
        if self.bar.disable and 10 * self.done // self.total > tenth:
            remaining = seconds / (self.done - self.before) * (self.total - self.done)
            log.info(
                "%s %d/%d  %.0f s, %.0f s left  %s",
                self.description,
                self.done,
                self.total,
                seconds,
                remaining,
                note,
            )


class StepProgress:
    """A `MetricSink` that advances a bar and shows the main metrics beside it."""

    LABELS: Mapping[str, str] = {
        "reward/mean": "reward",
        "offline_share": "offline",
        "grad_norm": "norm",
        "dev/accuracy": "dev",
    }

    def __init__(self, bar: ProgressBar) -> None:
        self.bar = bar

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        notes = {label: metrics[name] for name, label in self.LABELS.items() if name in metrics}
        self.bar.advance(step - self.bar.done, **notes)
