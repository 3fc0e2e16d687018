"""What shows the steps that are running and how far they are: rows in the terminal, bars in Prefect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.theme import Theme

COUNT = re.compile(r"(?<!\S)(\d+)/(\d+)  \d+ s, (\d+ s left.*)")
"""Progress in the log lines of `pipelines.stage.progress`."""
REFRESHES = 4.0
"""Redrawings of the rows in a second."""


@dataclass(frozen=True)
class Count:
    """How far a step is: `done` units of `total`."""

    done: int
    total: int
    note: str = ""
    """Time that is left, speed and metrics, as the step says them."""


def read_count(line: str) -> Count | None:
    """The count in a line of a step's output; None where it has none."""
    match = COUNT.search(line)
    if match is None or match[2] == "0":
        return None
    return Count(int(match[1]), int(match[2]), " ".join(match[3].split()))


class View(Protocol):
    """Told of what each step does, from the threads of the steps."""

    def began(self, step: str) -> None: ...

    def counted(self, step: str, count: Count) -> None: ...

    def ended(self, step: str) -> None: ...

    def close(self) -> None:
        """No step runs any more. May be repeated."""
        ...


class TerminalView:
    """A row for each running step below the log lines; nothing without a terminal."""

    def __init__(self, console: Console) -> None:
        """console: the one that prints the log lines, so that they go above the rows."""
        # Prefect's console knows none of the styles that rows have.
        console.push_theme(Theme(), inherit=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=REFRESHES,
            disable=not console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}
        self._lock = Lock()
        self._progress.start()

    def began(self, step: str) -> None:
        with self._lock:
            if step not in self._rows:
                self._rows[step] = self._progress.add_task(step, total=None, count="", note="")

    def counted(self, step: str, count: Count) -> None:
        with self._lock:
            if step in self._rows:
                shown = f"{count.done}/{count.total}"
                self._progress.update(
                    self._rows[step], completed=count.done, total=count.total, count=shown, note=count.note
                )

    def ended(self, step: str) -> None:
        with self._lock:
            if step in self._rows:
                self._progress.remove_task(self._rows.pop(step))

    def close(self) -> None:
        """Show the cursor again."""
        self._progress.stop()
