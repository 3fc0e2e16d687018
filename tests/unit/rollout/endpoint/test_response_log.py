"""The response log on a full disk; test_client.py has kills and damaged lines."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpt_core.rollout.endpoint.response_log import ResponseLog, ServerResponse


@contextmanager
def limited_space(path: Path, space: int) -> Iterator[None]:
    """The file accepts `space` more bytes; a longer write fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + space, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("space", [0, 1, 40])
def test_a_line_that_does_not_fit_leaves_the_file_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, space: int
) -> None:
    path = tmp_path / "kept" / "response_log.jsonl"
    responses = [ServerResponse(f"{i}", "stop", i) for i in range(4)]
    response_log = ResponseLog(path)
    response_log.add("0", responses[0])
    content = path.read_bytes()
    with limited_space(path, space), pytest.raises(OSError):
        response_log.add("1", responses[1])
    assert path.read_bytes() == content and response_log.responses == {"0": responses[0]}
    # Requests in flight still complete, possibly when there is space again.
    response_log.add("2", responses[2])
    response_log.add("3", responses[3])
    assert ResponseLog(path).responses == {"0": responses[0], "2": responses[2], "3": responses[3]}
    assert not caplog.records, "no line is truncated"
