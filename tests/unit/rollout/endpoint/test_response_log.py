"""The response log: a request is sent once; a damaged line, a kill and a full disk lose nothing else."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from six_requests import PROBLEMS, SAMPLING, SEEDS, expected_responses, responses

from hpt_core.config import Sampling
from hpt_core.errors import CheckpointError
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.rollout.endpoint.response_log import ResponseLog, ServerResponse


@pytest.mark.parametrize(
    ("change", "sampling", "seeds"),
    [
        ({"model": "bigger"}, SAMPLING, SEEDS),
        ({"revision": "r2"}, SAMPLING, SEEDS),
        ({"system_prompt": "Add."}, SAMPLING, SEEDS),
        ({}, SAMPLING.model_copy(update={"temperature": 0.8}), SEEDS),
        ({}, SAMPLING.model_copy(update={"top_p": 1.0}), SEEDS),
        ({}, SAMPLING.model_copy(update={"max_new_tokens": 65}), SEEDS),
        ({}, SAMPLING, [seed + (9 << 32) for seed in SEEDS]),
    ],
)
def test_a_different_request_is_sent(
    server: Any, endpoint: Callable[..., Endpoint], change: Any, sampling: Sampling, seeds: list[int]
) -> None:
    endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    endpoint(concurrency=2, timeout_s=9.0, retries=0).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 6
    endpoint(**change).generate(PROBLEMS, seeds, sampling)
    assert len(server.requests) == 12


@pytest.mark.parametrize("length", [1, 40, -1])
def test_the_request_of_a_truncated_line_is_sent_again(
    server: Any,
    endpoint: Callable[..., Endpoint],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    length: int,
) -> None:
    sampler = endpoint(concurrency=1)
    sampler.generate(PROBLEMS, SEEDS, SAMPLING)
    response_log = tmp_path / "response_log.jsonl"
    content = response_log.read_bytes()
    *lines, last = content.splitlines(keepends=True)
    response_log.write_bytes(b"".join(lines) + last[:length])
    completions = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(completions) == expected_responses(PROBLEMS, SEEDS)
    assert server.request_counts[PROBLEMS[5], 6] == 2 and len(server.requests) == 7
    assert response_log.read_bytes() == content
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"{response_log}: the last line is truncated; its request will be sent again"
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b"",
        b'{"key": "k"}',
        b'{"key": "k", "content": 4, "finish_reason": "stop", "tokens": 2}',
        b'{"key": "k", "content": "4", "finish_reason": "stop", "tokens": "2"}',
        b'{"key": "k", "content": "4", "finish_reason": "stop", "tokens": 2, "more": 1}',
        b'{"key": ["k"], "content": "4", "finish_reason": "stop", "tokens": 2}',
    ],
)
def test_any_other_damage_is_an_error_with_its_line(
    server: Any, endpoint: Callable[..., Endpoint], tmp_path: Path, line: bytes
) -> None:
    endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    response_log = tmp_path / "response_log.jsonl"
    lines = response_log.read_bytes().splitlines()
    response_log.write_bytes(b"\n".join([*lines[:3], line, *lines[4:]]) + b"\n")
    with pytest.raises(
        CheckpointError, match=r"response_log.jsonl:4: not a line of a response log .*; remove the line"
    ):
        endpoint()
    response_log.write_bytes(b"\n".join([*lines[:3], *lines[4:]]) + b"\n")
    assert responses(endpoint().generate(PROBLEMS, SEEDS, SAMPLING)) == expected_responses(PROBLEMS, SEEDS)
    assert len(server.requests) == 7


def test_a_response_with_any_kind_of_line_break_is_one_line(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    text = "a\nb\r\nc\x0bd\x0ce\x1cf\x85g\u2028h\u2029i\x00\U0001f600"
    server.answer = lambda request: (text, "stop")
    assert responses(endpoint().generate(PROBLEMS[:1], SEEDS[:1], SAMPLING)) == [text]
    assert responses(endpoint().generate(PROBLEMS[:1], SEEDS[:1], SAMPLING)) == [text]
    assert len(server.requests) == 1


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
    entries = [ServerResponse(f"{i}", "stop", i) for i in range(4)]
    response_log = ResponseLog(path)
    response_log.add("0", entries[0])
    content = path.read_bytes()
    with limited_space(path, space), pytest.raises(OSError):
        response_log.add("1", entries[1])
    assert path.read_bytes() == content and response_log.responses == {"0": entries[0]}
    # Requests in flight still complete, possibly when there is space again.
    response_log.add("2", entries[2])
    response_log.add("3", entries[3])
    assert ResponseLog(path).responses == {"0": entries[0], "2": entries[2], "3": entries[3]}
    assert not caplog.records, "no line is truncated"
