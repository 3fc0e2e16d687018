"""The order of steps, what a failure keeps from being run, and that no reporter decides what is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from pipelines.orchestration.steps import Executor, Log, Outcome, Step, Threads, failed
from pipelines.orchestration.submission import run_steps
from pipelines.result import Result


def steps(ran: list[str], failing: str = "") -> list[Step]:
    def step(name: str, *upstream: str) -> Step:
        def act(log: Log) -> Outcome:
            ran.append(name)
            return failed(f"{name} is broken") if name == failing else Outcome("done", name)

        return Step(name, name, upstream, act)

    return [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")]


def run(executor: Executor, failing: str = "") -> tuple[list[str], Result]:
    ran: list[str] = []
    outcomes: dict[str, Outcome] = {}
    run_steps(steps(ran, failing), executor, 2, outcomes)
    return ran, Result(outcomes)


def test_each_step_follows_those_upstream() -> None:
    ran, result = run(Threads(2))
    assert (ran[0], sorted(ran[1:3]), ran[3]) == ("a", ["b", "c"], "d")
    assert result.verdict == "completed"


def test_what_needs_a_failed_step_is_not_run_and_the_rest_is() -> None:
    ran, result = run(Threads(2), failing="b")
    assert sorted(ran) == ["a", "b", "c"]
    assert (result.verdict, result.status) == ("failed", 1)
    assert result.lines == "b is broken\nnot run: d"


def test_retries() -> None:
    ran, _ = run(Threads(2, retries=2), failing="d")
    assert ran.count("d") == 3


class Away:
    """A reporter that takes every step and does nothing with it, as tasks of a server that is lost."""

    def submit(self, step: Step, body: Callable[[Log], Outcome], upstream: Sequence[Any]) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_exception(ConnectionError("the server is away"))
        return future


def test_a_reporter_that_fails_keeps_nothing_from_being_done() -> None:
    ran, result = run(Away())
    assert sorted(ran) == ["a", "b", "c", "d"] and result.completed


def test_exit_status_2_only_where_every_failure_is_the_users() -> None:
    theirs, ours = failed("a row", status=2), failed("a fault")
    assert Result({"a": theirs}).status == 2
    assert Result({"a": theirs, "b": ours}).status == 1
    assert Result({"a": Outcome("unchanged", "")}).status == 0
    assert Result({"a": Outcome("done", "")}, stopped="Ctrl-C").status == 1
