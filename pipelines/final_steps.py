"""What follows the stages of a run: publish to MLflow, register, push to the DVC remote."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hpt_core.errors import InputError
from pipelines.messages import clean
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.orchestration.push import push_command
from pipelines.orchestration.steps import Log, Outcome, Step, failed
from pipelines.tracking import published_state
from pipelines.tracking.mlflow_errors import TrackingError
from pipelines.tracking.published_state import PublishedState

if TYPE_CHECKING:
    from pipelines.tracking.publish import Published

STEPS = ("publish", "register", "push")
DELAYS = (5.0, 15.0, 30.0)
"""Seconds between attempts while the tracking server is away: its restart takes half a minute."""
PUBLISH_LATER = "Models, data and metrics are complete on disk. Publish them with: hpt publish"


class StepReport(Protocol):
    """What publishing or registering did; its text is the message of the step."""

    @property
    def changed(self) -> bool: ...


@dataclass(frozen=True)
class AlreadyDone:
    """A step found all that it would do already done."""

    message: str
    changed: bool = False

    def __str__(self) -> str:
        return self.message


@dataclass
class FinalSteps:
    """The last steps of the run `flow_run`, which is called `name`.

    MLflow's client is imported only where something is to be written: that takes longer than a whole run in
    which nothing is.
    """

    root: Path
    groups: ProcessGroups
    flow_run: str
    name: str
    _confirmed: PublishedState | None = field(default=None, init=False)
    _published: Published | None = field(default=None, init=False)
    _inputs: str = field(default="", init=False)

    def look_at_mlflow(self) -> None:
        """Look whether MLflow lacks anything, and end the runs in it that a killed process left RUNNING.

        If MLflow is away, publishing says so.
        """
        self._confirmed = published_state.confirmed(self.root)
        if self._confirmed is None:
            close_runs(self.root, self.flow_run, "the process that wrote this run was killed")

    def steps(self, complete: bool) -> list[Step]:
        """Publish in any case; register and push what is complete."""
        if not complete or self._confirmed != published_state.expected(self.root):
            self._confirmed = None  # The stages made something new.
        status = "FINISHED" if complete else "FAILED"
        steps = [
            self._tracking("publish", "Send to MLflow what it lacks", (), partial(self._publish, status))
        ]
        if complete:
            steps.append(self._tracking("register", "Versions and aliases", ("publish",), self._register))
            steps.append(Step("push", "New data and models to the DVC remote", (), self._push))
        return steps

    def _publish(self, status: str) -> StepReport:
        if self._confirmed is not None:
            return AlreadyDone(self._confirmed.published)
        from pipelines.tracking.publish import publish

        published_state.forget(self.root)
        self._inputs = published_state.inputs_hash(self.root)
        self._published = publish(self.root, self.flow_run, self.name, status)
        return self._published

    def _register(self) -> StepReport:
        if self._confirmed is not None:
            return AlreadyDone(self._confirmed.registered)
        from pipelines.tracking.registry import register

        registered = register(self.root)
        if self._published is not None:
            published_state.keep(self.root, self._inputs, self._published, registered)
        return registered

    def _tracking(
        self, name: str, desc: str, upstream: tuple[str, ...], action: Callable[[], StepReport]
    ) -> Step:
        """A step that writes to MLflow."""

        def act(log: Log) -> Outcome:
            try:
                published = self._attempt(action, log)
            except InputError as error:
                return failed(clean(str(error)), status=2)
            except TrackingError as error:
                return failed(f"{error}\n{PUBLISH_LATER}")
            log("%s", published)
            return Outcome("done" if published.changed else "unchanged", str(published))

        return Step(name, desc, upstream, act)

    def _attempt(self, action: Callable[[], StepReport], log: Log) -> StepReport:
        """What `action` gives, tried again while the tracking server is away and the run is not stopped."""
        for delay in DELAYS:
            try:
                return action()
            except TrackingError as error:
                if not error.away:
                    raise
                log("%s; trying again in %.0f s", error, delay)
                if self.groups.closed_within(delay):
                    raise
        return action()

    def _push(self, log: Log) -> Outcome:
        lines: list[str] = []
        try:
            self.groups.run(push_command(), self.root, lines.append)
        except CommandError as error:
            return failed(error.tail[-1] if error.tail else f"the push failed: {error}")
        for line in lines:
            log("%s", line)
        return Outcome("unchanged" if lines[-1].startswith("0 ") else "done", lines[-1])


def close_runs(root: Path, alive: str | None, reason: str) -> None:
    """End the runs in MLflow that no process writes any more, and leave those of the flow run `alive`."""
    from pipelines.tracking.closing import close_dead_runs

    with suppress(TrackingError, InputError):
        close_dead_runs(root, alive, reason)
