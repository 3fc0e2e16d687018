"""What a run came to: the outcome of each step, in the words of the terminal and of Prefect's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.messages import clean
from pipelines.orchestration.steps import Outcome


@dataclass(frozen=True)
class Result:
    """How a run ended. A run that was stopped has neither succeeded nor failed."""

    outcomes: dict[str, Outcome]
    stopped: str = ""
    """Why it was told to end before it was done."""
    flow_run: str = ""
    """Id of the flow run, in Prefect and in MLflow."""
    prefect_away: bool = False
    """Whether Prefect could not be told of it yet."""

    @property
    def verdict(self) -> Literal["completed", "unchanged", "failed", "stopped"]:
        if self.stopped:
            return "stopped"
        if not all(outcome.good for outcome in self.outcomes.values()):
            return "failed"
        changed = any(outcome.verdict != "unchanged" for outcome in self.outcomes.values())
        return "completed" if changed else "unchanged"

    @property
    def completed(self) -> bool:
        return self.verdict in ("completed", "unchanged")

    @property
    def status(self) -> int:
        """Exit status of the command: 2 where only what the user gave stands in the way, else 1 for a
        failure."""
        if self.stopped:
            return 1
        statuses = {outcome.status for outcome in self.outcomes.values() if outcome.verdict == "failed"}
        return 0 if self.completed else 2 if statuses == {2} else 1

    @property
    def message(self) -> str:
        """Everything there is to say, for readers who have not seen the output of the stages."""
        return self._text([outcome.message for outcome in self._failed()], "\n\n")

    @property
    def lines(self) -> str:
        """The same without the output of the stages, which the reader has above."""
        return self._text([outcome.line or outcome.message for outcome in self._failed()], "\n")

    def _failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes.values() if outcome.verdict == "failed"]

    def _text(self, failures: list[str], separator: str) -> str:
        if self.stopped:
            return clean(f"ended early: {self.stopped}; the next run goes on from here")
        if failures:
            skipped = self._named("not run")
            return clean(separator.join([*failures, *([f"not run: {skipped}"] if skipped else [])]))
        if self.verdict == "unchanged":
            return "every stage is up to date, nothing to publish"
        parts = {"done": self._named("done"), "restored from DVC's cache": self._named("restored")}
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)

    def _named(self, verdict: str) -> str:
        return ", ".join(name for name, outcome in self.outcomes.items() if outcome.verdict == verdict)
