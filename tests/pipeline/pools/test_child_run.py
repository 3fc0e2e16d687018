"""Waiting for the run of a worker: through an outage of the server, to its end or that of the flow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import State, StateType

from pipelines.orchestration.process_group import ProcessGroups
from pipelines.pools import child_run
from pipelines.pools.handover import Handover, PoolError, Reply

CHILD = SimpleNamespace(id=UUID(int=1), name="train@human of night")
AWAY = httpx.ConnectError("refused")
HANDOVER = Handover("train@human", "c" * 40, "", {}, {}, "run", "night", "checkout")
REPLY = {"entry": {"outs": []}, "timing": {"seconds": 1.5}}


class Server:
    """A Prefect server that answers each question for the state with the next of `answers`."""

    def __init__(self, *answers: Exception | State[Any], left: dict[str, Any] | None = None) -> None:
        """left: parameters of a run that has not ended."""
        self.answers, self.left = list(answers), left
        self.set: list[StateType] = []
        self.asked: list[UUID] = []

    def read_flow_runs(self, **_: object) -> list[Any]:
        if self.left is None:
            return []
        return [SimpleNamespace(id=UUID(int=2), name="train@human of dusk", parameters=self.left)]

    def read_flow_run(self, run: UUID) -> Any:
        self.asked.append(run)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(state=answer)

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        self.set.append(state.type)

    def request(self, *asked: Any, **options: Any) -> Any:
        found = [
            {"created": "2026-01-02", "data": json.dumps(REPLY)},
            {"created": "2026-01-01", "data": "{}"},
        ]
        return SimpleNamespace(json=lambda: found)


def state(kind: StateType, message: str = "") -> State[Any]:
    return State(type=kind, message=message)


def wait(monkeypatch: pytest.MonkeyPatch, server: Server, groups: ProcessGroups | None = None) -> Reply:
    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(child_run, "get_client", client)
    monkeypatch.setattr(child_run, "_start", lambda handover, pool: CHILD)
    monkeypatch.setattr(child_run, "POLL_S", 0.01)
    return child_run.run(HANDOVER, "gpu", groups or ProcessGroups(), lambda *message: None)


def test_an_outage_of_the_server_is_no_failure_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(state(StateType.RUNNING), AWAY, AWAY, state(StateType.COMPLETED))
    assert wait(monkeypatch, server) == Reply({"outs": []}, {"seconds": 1.5}), "that of the newest artifact"


def test_a_server_that_stays_away_is_named_and_the_worker_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_run, "PATIENCE_S", 0.1)
    server = Server(AWAY)
    with pytest.raises(
        PoolError, match=r"train@human on pool gpu, flow run .*ConnectError.* the worker goes on"
    ):
        wait(monkeypatch, server)
    assert server.set == []


@pytest.mark.parametrize("kind", [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED])
def test_an_end_that_is_not_well_is_the_failure_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, kind: StateType
) -> None:
    expected = f"train@human on pool gpu, flow run .* is {kind.name}: no memory is left"
    with pytest.raises(PoolError, match=expected):
        wait(monkeypatch, Server(state(kind, "no memory is left")))


def test_a_run_that_is_stopped_cancels_that_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, server = ProcessGroups(), Server(state(StateType.RUNNING))
    groups.close()
    with pytest.raises(PoolError, match="was cancelled with the run"):
        wait(monkeypatch, server, groups)
    assert server.set == [StateType.CANCELLING]


def test_a_run_that_a_killed_flow_left_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(state(StateType.COMPLETED), left=HANDOVER.parameters() | {"flow_run": "dusk"})
    assert wait(monkeypatch, server).timing == {"seconds": 1.5}
    assert server.asked == [UUID(int=2)]


def test_a_run_that_was_left_and_crashes_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    crashed, done = state(StateType.CRASHED, "no heartbeat"), state(StateType.COMPLETED)
    server = Server(state(StateType.RUNNING), crashed, done, left=HANDOVER.parameters())
    assert wait(monkeypatch, server).timing == {"seconds": 1.5}
    assert server.asked == [UUID(int=2), UUID(int=2), CHILD.id]


@pytest.mark.parametrize(
    "other", [{"stage": "train@teacher"}, {"commit": "d" * 40}, {"expected": {"deps": []}}, {"checkout": "b"}]
)
def test_a_run_of_other_inputs_is_left_alone(monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]) -> None:
    server = Server(state(StateType.COMPLETED), left=HANDOVER.parameters() | other)
    wait(monkeypatch, server)
    assert server.asked == [CHILD.id]
