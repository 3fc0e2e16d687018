"""The order in which stages are submitted: each after those upstream of it, with a limit on how many run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from pipelines.orchestration.dag import Stage


class Future(Protocol):
    """A submitted stage; Prefect's futures are of this type."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None: ...


F = TypeVar("F", bound=Future)


def run_stages(stages: Sequence[Stage], submit: Callable[[Stage, list[F]], F], workers: int) -> dict[str, F]:
    """Submit each stage once every stage upstream of it has ended, at most `workers` at a time.

    A stage below a failed one is submitted too: Prefect then shows it as not ready, and never runs it.
    """
    futures: dict[str, F] = {}
    ended: set[str] = set()
    events: SimpleQueue[str] = SimpleQueue()
    waiting = list(stages)
    while len(ended) < len(stages):
        for stage in [stage for stage in waiting if ended.issuperset(stage.upstream)]:
            if len(futures) - len(ended) >= workers:
                break
            waiting.remove(stage)
            futures[stage.name] = submit(stage, [futures[name] for name in stage.upstream])
            futures[stage.name].add_done_callback(partial(_announce, events, stage.name))
        ended.add(events.get())
    return futures


def _announce(events: SimpleQueue[str], name: str, future: Future) -> None:
    events.put(name)
