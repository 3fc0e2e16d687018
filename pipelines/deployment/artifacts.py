"""What a run leaves on its page of the Prefect server: its results, and how far its long stages are.

No failure here is a failure of the run: the same is in the files and in MLflow.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Protocol, cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from rich.text import Text

from hpt_core.errors import InputError
from pipelines.report.comparison_file import read_comparison
from pipelines.report.comparisons import results
from pipelines.report.summary import CAPTION, table
from pipelines.report.with_run import newest

logger = logging.getLogger(__name__)

RESULTS = "hpt-results"
"""Key of the artifact with the results; its versions are those of all runs."""
INTERVAL_S = 10.0
"""Seconds between two updates of a stage's progress."""
PATIENCE_S = 15.0
"""Seconds that a run waits at its end until its results are shown."""


def show_results(root: Path, pages: Mapping[str, str]) -> None:
    """The final table, the verdicts and where the rest is."""

    def show() -> None:
        description = "Accuracy of each arm, and what it proves."
        create_markdown_artifact(markdown=_results(root, pages), key=RESULTS, description=description)

    _aside(show).join(PATIENCE_S)


class Counted(Protocol):
    """How far a step is."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...


class ProgressBars:
    """A progress bar for each step that counts, on the page of its run."""

    def __init__(self) -> None:
        self._bars: dict[str, _Bar] = {}

    def began(self, step: str) -> None:
        """A step has a bar once it has counted something."""

    def counted(self, step: str, count: Counted) -> None:
        self._bars.setdefault(step, _Bar(step)).show(100 * count.done / count.total)

    def ended(self, step: str) -> None:
        """What the bar shows last stays on the page."""

    def close(self) -> None:
        """The same holds at the end of the run."""


class _Bar:
    """The progress artifact of one step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._artifact: UUID | None = None
        self._shown = -INTERVAL_S
        self._sending: Thread | None = None

    def show(self, percent: float) -> None:
        """Show it, unless something was shown just before or is still being sent."""
        if time.monotonic() - self._shown < INTERVAL_S and percent < 100:
            return
        if self._sending is not None and self._sending.is_alive():
            return
        self._shown = time.monotonic()
        self._sending = _aside(partial(self._send, percent))

    def _send(self, percent: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, percent)
            return
        key = re.sub(r"[^a-z0-9]+", "-", f"progress-{self._step}".lower()).strip("-")
        description = f"Progress of {self._step}"
        self._artifact = cast(UUID, create_progress_artifact(percent, key=key, description=description))


def _aside(action: Callable[[], None]) -> Thread:
    """Run `action` in a thread, since Prefect's client waits for minutes for a server that is down."""

    def act() -> None:
        try:
            action()
        except Exception as error:
            logger.warning("an artifact could not be shown in Prefect: %s", type(error).__name__)

    # The copied context tells Prefect which run the artifact belongs to.
    thread = Thread(target=copy_context().run, args=(act,), daemon=True)
    thread.start()
    return thread


def _results(root: Path, pages: Mapping[str, str]) -> str:
    try:
        comparison, shown = read_comparison(root), table(root)
    except InputError:
        return "There is no comparison yet."
    headings = [str(column.header) for column in shown.columns]
    rows = zip(*(list(column.cells) for column in shown.columns), strict=True)
    lines = [_row(headings), _row(["---", *["---:"] * (len(headings) - 1)])]
    lines += [_row([_plain(cell) for cell in row]) for row in rows]
    verdicts = [
        f"- {result['verdict']}" for entry in comparison["benchmarks"].values() for result in results(entry)
    ]
    links = [f"- [{what}]({address})" for what, address in pages.items()]
    where = links or ["- Runs, curves and models: `hpt ui` in the checkout"]
    if report := newest(root):
        where.append(f"- The report on its machine: `{root / report}`")
    title = _plain(shown.title)
    caption = " ".join(f"{line}." for line in CAPTION.plain.splitlines()).replace("*", "\\*")
    parts = [[f"**{title}**"], lines, [caption], verdicts, where]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _plain(cell: object) -> str:
    return (
        (cell.plain if isinstance(cell, Text) else str(cell)).strip().replace("|", "\\|").replace("*", "\\*")
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
