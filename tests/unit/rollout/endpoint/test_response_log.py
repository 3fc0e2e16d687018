"""A journal on a disk that fills up; tests/unit/rollout/test_endpoint.py has kills and damage."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpt_core.rollout.endpoint.response_log import Answer, Journal


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
    path, answers = tmp_path / "kept" / "journal.jsonl", [Answer(f"{i}", "stop", i) for i in range(4)]
    journal = Journal(path)
    journal.add("0", answers[0])
    whole = path.read_bytes()
    with room(path, left), pytest.raises(OSError):
        journal.add("1", answers[1])
    assert path.read_bytes() == whole and journal.answers == {"0": answers[0]}
    # Requests that were under way end as well, and some of them when there is room again.
    journal.add("2", answers[2])
    journal.add("3", answers[3])
    assert Journal(path).answers == {"0": answers[0], "2": answers[2], "3": answers[3]}
    assert not caplog.records, "no line is cut short"
