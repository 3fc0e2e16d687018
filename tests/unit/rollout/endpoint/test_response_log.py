"""A response_log on a disk that fills up; tests/unit/rollout/test_endpoint.py has kills and damage."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpt_core.rollout.endpoint.response_log import Answer, ResponseLog


@contextmanager
def room(path: Path, left: int) -> Iterator[None]:
    """The file takes `left` bytes more, and then the write fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_line_that_does_not_fit_leaves_no_half_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    path, answers = tmp_path / "kept" / "response_log.jsonl", [Answer(f"{i}", "stop", i) for i in range(4)]
    response_log = ResponseLog(path)
    response_log.add("0", answers[0])
    whole = path.read_bytes()
    with room(path, left), pytest.raises(OSError):
        response_log.add("1", answers[1])
    assert path.read_bytes() == whole and response_log.answers == {"0": answers[0]}
    # Requests that were under way end as well, and some of them when there is room again.
    response_log.add("2", answers[2])
    response_log.add("3", answers[3])
    assert ResponseLog(path).answers == {"0": answers[0], "2": answers[2], "3": answers[3]}
    assert not caplog.records, "no line is cut short"
