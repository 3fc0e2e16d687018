"""The endpoint client against a real HTTP server: no request is repeated, no response is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import EndpointConfig, Sampling
from hpt_core.errors import CheckpointError, EngineError, InputError
from hpt_core.protocols import Sampler
from hpt_core.rollout.endpoint.client import PROBE, Endpoint
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.reply import retry_after
from hpt_core.types import Completion

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64)
PROBLEMS = [f"{i} + {i} =" for i in range(6)]
SEEDS = [(i + 1) << 32 for i in range(6)]


@pytest.fixture
def endpoint(server: Any, tmp_path: Path) -> Callable[..., Endpoint]:
    def make(**settings: Any) -> Endpoint:
        fields = {"url": server.url, "model": "big", "revision": "r1", "retries": 2, "timeout_s": 30.0}
        response_log = settings.pop("response_log", tmp_path / "response_log.jsonl")
        return Endpoint(EndpointConfig(**fields | settings), response_log, "teacher.endpoint", backoff=0.001)

    return make


def expected_responses(problems: list[str], seeds: list[int]) -> list[str]:
    """What the server responds by default."""
    return [f"{problem} by {seed >> 32}" for problem, seed in zip(problems, seeds, strict=True)]


def responses(completions: list[Completion]) -> list[str]:
    return [completion.response for completion in completions]


def test_a_request_holds_everything_that_decides_the_response(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    sampler: Sampler[str] = endpoint(system_prompt="Add up.")
    (completion,) = sampler.generate(["1 + 1 ="], [5 << 32], SAMPLING)
    assert server.requests == [
        {
            "model": "big",
            "messages": [
                {"role": "system", "content": "Add up."},
                {"role": "user", "content": "1 + 1 ="},
            ],
            "seed": 5,
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 64,
        }
    ]
    assert completion == Completion("1 + 1 = by 5", (), (), "stop", billed=7)
    assert sampler.policy == "big@r1" and completion.n_tokens == 7 and server.keys == [None]


def test_responses_are_in_order_and_each_request_is_sent_once(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    problems, seeds = PROBLEMS * 2, SEEDS * 2
    completions = endpoint(concurrency=4).generate(problems, seeds, SAMPLING)
    assert responses(completions) == expected_responses(problems, seeds)
    assert len(server.requests) == 6 and set(server.request_counts.values()) == {1}


def test_at_most_concurrency_requests_are_in_flight(server: Any, endpoint: Callable[..., Endpoint]) -> None:
    barrier, in_flight, counts = threading.Barrier(3), [], []

    def answer(request: Any) -> tuple[str, str]:
        in_flight.append(1)
        counts.append(len(in_flight))
        barrier.wait(timeout=60)  # It breaks unless three requests are in flight.
        in_flight.pop()
        return "2", "stop"

    server.answer = answer
    endpoint(concurrency=3).generate(PROBLEMS, SEEDS, SAMPLING)
    assert max(counts) == 3 and not barrier.broken


BUSY = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
FAULTS = {
    "500": lambda server, faults: faults.status(500, {"error": {"message": "boom"}}),
    "502": lambda server, faults: faults.status(502, "<html>bad gateway</html>"),
    "503": lambda server, faults: faults.status(503, {"detail": "starting"}),
    "504": lambda server, faults: faults.status(504, {}),
    "429": lambda server, faults: faults.status(429, BUSY),
    "reset": lambda server, faults: faults.reset,
    "cut short": lambda server, faults: faults.cut_short,
    "hangs": lambda server, faults: server.hang,
    "no JSON": lambda server, faults: faults.body(b"{"),
    "not UTF-8": lambda server, faults: faults.body(b"\xff\xfe"),
    "empty": lambda server, faults: faults.body(b""),
    "a list": lambda server, faults: faults.body(b"[]"),
    "nested": lambda server, faults: faults.body(b"[" * 100_000),
    "error in a 200": lambda server, faults: faults.body(b'{"error": {"message": "upstream"}}'),
    "content of parts": lambda server, faults: faults.body(b'{"choices": [{"message": {"content": [1]}}]}'),
    "aborted": lambda server, faults: faults.body(ended("abort")),
    "no end": lambda server, faults: faults.body(ended(None)),
    "an end of its own": lambda server, faults: faults.body(ended(["stop"])),
}


def ended(reason: Any) -> bytes:
    choice = {"finish_reason": reason, "message": {"content": "4"}}
    return json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}}).encode()


MESSAGES = {
    "500": "HTTP 500: boom",
    "502": "HTTP 502: .*<html>bad gateway</html>",
    "503": "HTTP 503: starting",
    "504": "HTTP 504: {}",
    "429": "HTTP 429: Rate limit reached",
    "hangs": "no complete response within 0.3 s",
    "error in a 200": "not a chat completion .*upstream",
    "aborted": "ended the response with finish_reason 'abort'",
    "no end": "ended the response with finish_reason None",
}


NO_CHOICE = [
    b'{"choices": []}',
    b'{"choices": null}',
    b'{"id": "c", "object": "chat.completion"}',
    b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
    b'{"choices": [{"finish_reason": "stop"}]}',
    b'{"choices": [null]}',
]


@pytest.mark.parametrize("reply", NO_CHOICE)
def test_a_reply_without_a_choice_is_retried_and_then_a_refusal(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], reply: bytes
) -> None:
    fault = faults.body(reply)
    server.faults = {PROBLEMS[1]: [fault] * 2, PROBLEMS[2]: [fault] * 3}
    completions = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(completions[:2]) == expected_responses(PROBLEMS[:2], SEEDS[:2])
    assert re.search(r"not a chat completion .*\(attempt 3 of 3\)", str(completions[2].error))
    assert [i for i, completion in enumerate(completions) if completion.error] == [2]


@pytest.mark.parametrize("reply", NO_CHOICE)
def test_a_server_that_returns_no_choice_to_any_prompt_stops_the_run(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], reply: bytes
) -> None:
    server.faults = {problem: [faults.body(reply)] * 9 for problem in (*PROBLEMS, PROBE)}
    with pytest.raises(EngineError, match=r"not a chat completion .*Check that the server runs"):
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 6, "three attempts at the prompt, and three at another one"


@pytest.mark.parametrize("name", FAULTS)
def test_a_transient_fault_costs_one_attempt_and_nothing_else(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str
) -> None:
    server.faults = {PROBLEMS[2]: [FAULTS[name](server, faults)] * 2}
    before = random.getstate()
    completions = endpoint(timeout_s=0.3 if name == "hangs" else 30.0).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(completions) == expected_responses(PROBLEMS, SEEDS)
    assert not any(completion.error for completion in completions)
    assert server.request_counts[PROBLEMS[2], 3] == 3 and len(server.requests) == 8
    assert random.getstate() == before


@pytest.mark.parametrize("name", FAULTS)
def test_a_lasting_fault_stops_the_run_with_a_remedy_and_keeps_the_responses(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str
) -> None:
    server.faults = {PROBLEMS[5]: [FAULTS[name](server, faults)] * 3}
    with pytest.raises(EngineError) as caught:
        endpoint(timeout_s=0.3 if name == "hangs" else 30.0).generate(PROBLEMS, SEEDS, SAMPLING)
    message = str(caught.value)
    assert message.startswith(f"{server.url}/chat/completions: ") and "(attempt 3 of 3)" in message
    assert "5 responses are kept in " in message and "response_log.jsonl" in message
    assert "teacher.endpoint.retries" in message and message.endswith("then run the stage again")
    if name in MESSAGES:
        assert re.search(MESSAGES[name], message)
    again = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(again) == expected_responses(PROBLEMS, SEEDS)
    assert server.request_counts == {
        (problem, seed >> 32): 4 if problem == PROBLEMS[5] else 1
        for problem, seed in zip(PROBLEMS, SEEDS, strict=True)
    }


def test_a_server_that_stops(server: Any, start_server: Any, endpoint: Callable[..., Endpoint]) -> None:
    def answer(request: Any) -> tuple[str, str]:
        if len(server.requests) == 3:
            server.stop()
        return server_answer(request)

    server_answer, server.answer = server.answer, answer
    url = server.url
    with pytest.raises(
        EngineError, match=f"{url}/chat/completions: ConnectError.*Check that the server runs"
    ) as caught:
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    other = start_server()
    kept = set(server.request_counts)
    assert len(kept) == 3 and "3 responses are kept" in str(caught.value)
    completions = endpoint(url=other.url).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(completions) == expected_responses(PROBLEMS, SEEDS)
    assert len(other.requests) == 3
    assert not kept & set(other.request_counts), "the address is not a part of the key"


@pytest.mark.parametrize(
    ("code", "error", "remedy"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key provided"}},
            "Set teacher.endpoint.api_key_env to a key",
        ),
        (403, {"error": {"message": "not yours"}}, r"may use this model, or correct teacher.endpoint.model"),
        (
            404,
            {"error": {"message": "no model `big`"}},
            "Correct teacher.endpoint.model or teacher.endpoint.url",
        ),
        (402, {"message": "no money"}, "Top up the account"),
        (
            400,
            {"error": {"message": "Unsupported parameter: 'max_tokens'"}},
            "Change the parameter that the server does not accept",
        ),
        (307, {}, "Correct teacher.endpoint.url"),
    ],
)
def test_a_permanent_failure_stops_at_once(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int, error: Any, remedy: str
) -> None:
    server.faults = {problem: [faults.status(code, error)] for problem in PROBLEMS}
    with pytest.raises(EngineError, match=rf"HTTP {code}: .*{remedy}.*; then run the stage again") as caught:
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 1
    assert json.dumps(error).split('": "')[-1].rstrip('"}') in str(caught.value)


def test_an_invalid_address(endpoint: Callable[..., Endpoint]) -> None:
    with pytest.raises(
        EngineError, match=r"/v1/chat/completions: Invalid .*Correct teacher.endpoint.url; then"
    ):
        endpoint(url="http://\u2603..x/v1").generate(PROBLEMS, SEEDS, SAMPLING)


OPENAI = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
VLLM = (
    "This model's maximum context length is 64 tokens. However, you requested 16 output tokens and your "
    "prompt contains at least 49 input tokens, for a total of at least 65 tokens."
)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, {"error": {"message": OPENAI, "code": "context_length_exceeded"}}),
        (400, {"error": {"message": "too much", "code": "context_length_exceeded"}}),
        (400, {"error": {"message": VLLM, "type": "BadRequestError", "param": "input_tokens", "code": 400}}),
        (400, {"object": "error", "message": VLLM, "type": "BadRequestError"}),
        (400, {"message": "The prompt is longer than the maximum model length of 64"}),
        (422, {"detail": "Input exceeds the context window"}),
        (413, "Payload Too Large"),
        (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}),
    ],
)
def test_a_prompt_that_the_server_refuses_fails_alone(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int, error: Any
) -> None:
    server.faults = {PROBLEMS[1]: [faults.status(code, error)]}
    completions = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    refused = completions.pop(1)
    assert refused.error and refused.error.startswith(f"HTTP {code}: ")
    assert (refused.response, refused.n_tokens, refused.token_ids) == ("", 0, ())
    rest = [i for i in range(6) if i != 1]
    assert responses(completions) == expected_responses([PROBLEMS[i] for i in rest], [SEEDS[i] for i in rest])
    assert len(server.requests) == 6
    assert endpoint().generate(PROBLEMS, SEEDS, SAMPLING)[1] == refused
    assert len(server.requests) == 6, "a refusal is in the log as well"
    again = endpoint(retry_refused=True).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(again) == expected_responses(PROBLEMS, SEEDS)
    assert responses(endpoint().generate(PROBLEMS, SEEDS, SAMPLING)) == expected_responses(PROBLEMS, SEEDS)
    assert len(server.requests) == 7, "the server may change, and the user says so"


@pytest.mark.parametrize(
    ("content", "reason", "expected", "requests_again"),
    [
        ("4", "stop", Completion("4", (), (), "stop", billed=2), 0),
        ("4 4", "length", Completion("4 4", (), (), "length", billed=3), 0),
        ("", "stop", Completion("", (), (), "stop", billed=1), 0),
        (None, "length", Completion("", (), (), "length", billed=1), 0),
        ("4", "content_filter", "'content_filter'", 0),
        (None, "tool_calls", "called a tool (tool_calls), and none was offered", 1),
        ("4", "function_call", "called a tool (function_call), and none was offered", 1),
        ("\ud83d", "stop", "half a surrogate pair", 0),
    ],
)
def test_every_finish_reason(
    server: Any,
    endpoint: Callable[..., Endpoint],
    content: str | None,
    reason: str | None,
    expected: Any,
    requests_again: int,
) -> None:
    server.answer = lambda request: (content, reason)
    for _ in range(2):
        (completion,) = endpoint().generate(["2 + 2 ="], [1 << 32], SAMPLING)
        if isinstance(expected, Completion):
            assert completion == expected
        else:
            assert expected in str(completion.error) and completion.response == ""
            assert completion.n_tokens == (2 if content else 1), "generated tokens are billed"
    assert len(server.requests) == 1 + requests_again


@pytest.mark.parametrize(
    ("reason", "error"), [("stop", False), ("content_filter", True), ("tool_calls", True)]
)
@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"usage": None},
        {"usage": {"completion_tokens": "2"}},
        {"usage": {"completion_tokens": -2}},
        {"usage": {"completion_tokens": 10**30}},
    ],
)
def test_uncounted_tokens_are_billed_as_the_maximum(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], usage: Any, reason: str, error: bool
) -> None:
    reply = {"choices": [{"finish_reason": reason, "message": {"content": "4"}}], **usage}
    server.faults = {"2 + 2 =": [faults.body(json.dumps(reply).encode())]}
    (completion,) = endpoint().generate(["2 + 2 ="], [1 << 32], SAMPLING)
    assert completion.billed == completion.n_tokens == SAMPLING.max_new_tokens
    assert (completion.response, completion.error is not None) == ("" if error else "4", error)


class Clock:
    """A clock that moves only when something sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize("code", [429, 503])
def test_no_request_starts_before_the_wait_of_the_server_is_over(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int
) -> None:
    clock, times = Clock(), []

    def answer(request: Any) -> tuple[str, str]:
        times.append(clock.time)
        return "2", "stop"

    server.answer = answer
    server.faults = {PROBLEMS[1]: [faults.status(code, BUSY, Retry_After="7")]}
    sampler = endpoint(concurrency=1)
    sampler.rate_limiter = RateLimiter(None, clock.now, clock.sleep)
    sampler.generate(PROBLEMS, SEEDS, SAMPLING)
    assert times == [0, 7, 7, 7, 7, 7]


def test_the_rate_of_requests_is_limited() -> None:
    clock = Clock()
    limiter, starts = RateLimiter(30, clock.now, clock.sleep), []

    async def run() -> None:
        for pause in (0, 0, 5, 0):
            await limiter.acquire()
            starts.append(clock.time)
            limiter.pause(pause)

    asyncio.run(run())
    assert starts == [0, 2, 4, 9]


def test_a_long_wait_stops_the_run(server: Any, faults: Any, endpoint: Callable[..., Endpoint]) -> None:
    server.faults = {PROBLEMS[0]: [faults.status(429, BUSY, Retry_After="7200")]}
    with pytest.raises(
        EngineError,
        match=r"Rate limit reached; the server asks for a wait of 7200 s\. .*Wait as long as it asks; then",
    ):
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (None, 0, 0),
        ("3", 3, 3),
        ("0.5", 0.5, 0.5),
        ("-4", 0, 0),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("soon", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 1e9, 1e10),
        ("Fri, 31 Dec 2199 23:59:59 -0000", 1e9, 1e10),
    ],
)
def test_retry_after(header: str | None, least: float, most: float) -> None:
    assert least <= retry_after(header) <= most


KEY = "sk-Zq7_very secret"


def test_the_api_key_reaches_the_server_and_nothing_else(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    short, long = f"not {KEY} again", "x" * 295 + KEY
    messages = []
    for fault in (
        faults.status(401, {"error": {"message": short}}),
        faults.status(404, {"error": {"message": long}}),
        faults.status(500, short),
        faults.status(429, {"detail": long}),
        faults.body(short.encode()),
        faults.body(b" " * 190 + KEY.encode()),
        faults.status(400, {"error": {"message": f"{short}: context_length_exceeded"}}),
    ):
        server.faults = {PROBLEMS[0]: [fault] * 3}
        sampler = endpoint(api_key_env="TEACHER_KEY")
        try:
            messages.append(str(sampler.generate(PROBLEMS[:2], SEEDS[:2], SAMPLING)[0].error))
        except EngineError as error:
            messages.append("".join(traceback.format_exception(error)))
        messages.append(repr(sampler))
    assert len(messages) == 14 and set(server.keys) == {f"Bearer {KEY}"}
    assert sum("***" in text for text in messages) >= 5, "the server repeats the key"
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*messages, caplog.text, *written):
        assert KEY not in text and "sk-Z" not in text


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is not set"), (" ", "is not set"), ("sk\n-x\u20ac", "no key has")]
)
def test_an_invalid_api_key(
    endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, value: str | None, words: str
) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEACHER_KEY", value)
    with pytest.raises(InputError, match=f"^TEACHER_KEY .*{words}.*set it to the server's key") as caught:
        endpoint(api_key_env="TEACHER_KEY")
    assert "sk" not in str(caught.value)


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
