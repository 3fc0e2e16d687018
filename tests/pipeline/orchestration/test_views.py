"""What a person sees of the steps that run: rows below the log lines, fed by what the stages log."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.theme import Theme

from pipelines.orchestration.steps import Log, Outcome, Step, Threads
from pipelines.orchestration.submission import run_steps
from pipelines.orchestration.views import Count, TerminalView, read_count
from pipelines.stage.progress import ProgressBar


def test_the_count_is_read_from_what_a_stage_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), ProgressBar("train", 20) as bar:
        bar.advance(5, 1000, reward=0.5)
    [line] = caplog.messages
    count = read_count(f"INFO pipelines.train {line}")
    assert count is not None and (count.done, count.total) == (5, 20)
    assert count.note.endswith("tokens/s reward 0.5") and "s left" in count.note
    assert read_count("wrote 3/4 files") is None


class Recorder:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def began(self, step: str) -> None:
        self.seen.append(f"{step} began")
        raise OSError("the terminal is gone")

    def counted(self, step: str, count: Count) -> None:
        self.seen.append(count)

    def ended(self, step: str) -> None:
        self.seen.append(f"{step} ended")

    def close(self) -> None: ...


def test_views_are_told_and_decide_nothing() -> None:
    def act(log: Log) -> Outcome:
        log("100% of it")
        log("%s", "train 3/10  9 s, 21 s left  ")
        return Outcome("done", "")

    view, outcomes = Recorder(), dict[str, Outcome]()
    run_steps([Step("train", "", (), act)], Threads(1), 1, outcomes, [view])
    assert outcomes["train"].verdict == "done"
    assert view.seen == ["train began", Count(3, 10, "21 s left"), "train ended"]


@pytest.mark.parametrize("terminal", [True, False])
def test_rows_of_running_steps_on_a_terminal_alone(terminal: bool) -> None:
    # Prefect's console has its own styles and none of those that rows need.
    output = io.StringIO()
    view = TerminalView(Console(file=output, force_terminal=terminal, theme=Theme(inherit=False), width=100))
    view.began("train@human")
    view.counted("train@human", Count(3, 10, "21 s left"))
    view._progress.refresh()
    view.ended("train@human")
    view.close()
    view.close()
    shown = output.getvalue()
    assert ("train@human" in shown, "3/10" in shown, "21 s left" in shown) == (terminal,) * 3
