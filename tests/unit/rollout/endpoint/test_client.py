"""An endpoint against a real HTTP server: nothing asked twice, nothing lost, nothing made up."""

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
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.reply import retry_after
from hpt_core.types import Completion

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64)
PROBLEMS = [f"{i} + {i} =" for i in range(6)]
SEEDS = [(i + 1) << 32 for i in range(6)]


@pytest.fixture
def endpoint(server: Any, tmp_path: Path) -> Callable[..., Endpoint]:
    def make(**given: Any) -> Endpoint:
        fields = {"url": server.url, "model": "big", "revision": "r1", "retries": 2, "timeout_s": 30.0}
        response_log = given.pop("response_log", tmp_path / "response_log.jsonl")
        return Endpoint(EndpointConfig(**fields | given), response_log, "teacher.endpoint", backoff=0.001)

    return make


def said(problems: list[str], seeds: list[int]) -> list[str]:
    return [f"{problem} by {seed >> 32}" for problem, seed in zip(problems, seeds, strict=True)]


def responses(completions: list[Completion]) -> list[str]:
    return [completion.response for completion in completions]


def test_a_request_says_all_that_decides_the_response(server: Any, endpoint: Callable[..., Endpoint]) -> None:
    sampler: Sampler[str] = endpoint(system_prompt="Add up.")
    (done,) = sampler.generate(["1 + 1 ="], [5 << 32], SAMPLING)
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
    assert done == Completion("1 + 1 = by 5", (), (), "stop", billed=7)
    assert sampler.policy == "big@r1" and done.n_tokens == 7 and server.keys == [None]


def test_responses_come_in_order_and_each_request_goes_out_once(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    problems, seeds = PROBLEMS * 2, SEEDS * 2
    done = endpoint(concurrency=4).generate(problems, seeds, SAMPLING)
    assert responses(done) == said(problems, seeds)
    assert len(server.requests) == 6 and set(server.asked.values()) == {1}


def test_as_many_at_once_as_may_be_and_no_more(server: Any, endpoint: Callable[..., Endpoint]) -> None:
    together, inside, most = threading.Barrier(3), [], []

    def answer(body: Any) -> tuple[str, str]:
        inside.append(1)
        most.append(len(inside))
        together.wait(timeout=60)  # three must be in here, or this breaks
        inside.pop()
        return "2", "stop"

    server.answer = answer
    endpoint(concurrency=3).generate(PROBLEMS, SEEDS, SAMPLING)
    assert max(most) == 3 and not together.broken


BUSY = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
MADE = {
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
    "no choices": lambda server, faults: faults.body(b'{"choices": []}'),
    "choices null": lambda server, faults: faults.body(b'{"choices": null}'),
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


WORDS = {
    "500": "HTTP 500: boom",
    "502": "HTTP 502: .*<html>bad gateway</html>",
    "503": "HTTP 503: starting",
    "504": "HTTP 504: {}",
    "429": "HTTP 429: Rate limit reached",
    "hangs": "no whole answer within 0.3 s",
    "error in a 200": "not a chat completion .*upstream",
    "aborted": "ended the response with finish_reason 'abort'",
    "no end": "ended the response with finish_reason None",
}


@pytest.mark.parametrize("name", MADE)
def test_a_passing_fault_costs_an_attempt_and_nothing_else(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str
) -> None:
    server.faults = {PROBLEMS[2]: [MADE[name](server, faults)] * 2}
    before = random.getstate()
    done = endpoint(timeout_s=0.3 if name == "hangs" else 30.0).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(done) == said(PROBLEMS, SEEDS) and not any(one.error for one in done)
    assert server.asked[PROBLEMS[2], 3] == 3 and len(server.requests) == 8
    assert random.getstate() == before


@pytest.mark.parametrize("name", MADE)
def test_a_lasting_fault_stops_with_what_to_do_and_keeps_the_rest(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str
) -> None:
    server.faults = {PROBLEMS[5]: [MADE[name](server, faults)] * 3}
    with pytest.raises(EngineError) as caught:
        endpoint(timeout_s=0.3 if name == "hangs" else 30.0).generate(PROBLEMS, SEEDS, SAMPLING)
    message = str(caught.value)
    assert message.startswith(f"{server.url}/chat/completions: ") and "(attempt 3, the last)" in message
    assert "5 responses are kept in " in message and "response_log.jsonl" in message
    assert "teacher.endpoint.retries" in message and message.endswith("then run the stage again")
    if name in WORDS:
        assert re.search(WORDS[name], message)
    again = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(again) == said(PROBLEMS, SEEDS)
    assert server.asked == {
        (problem, seed >> 32): 4 if problem == PROBLEMS[5] else 1
        for problem, seed in zip(PROBLEMS, SEEDS, strict=True)
    }


def test_a_server_that_is_gone(server: Any, start_server: Any, endpoint: Callable[..., Endpoint]) -> None:
    def answer(body: Any) -> tuple[str, str]:
        if len(server.requests) == 3:
            server.stop()
        return server_answer(body)

    server_answer, server.answer = server.answer, answer
    url = server.url
    with pytest.raises(
        EngineError, match=f"{url}/chat/completions: ConnectError.*See that the server is up"
    ) as caught:
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    other = start_server()
    kept = set(server.asked)
    assert len(kept) == 3 and "3 responses are kept" in str(caught.value)
    done = endpoint(url=other.url).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(done) == said(PROBLEMS, SEEDS)
    assert len(other.requests) == 3 and not kept & set(other.asked), "where a server stands does not matter"


@pytest.mark.parametrize(
    ("code", "said_by", "remedy"),
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
            "Change what the server does not t",
        ),
        (307, {}, "Correct teacher.endpoint.url"),
    ],
)
def test_what_no_attempt_can_mend_stops_at_once(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int, said_by: Any, remedy: str
) -> None:
    server.faults = {problem: [faults.status(code, said_by)] for problem in PROBLEMS}
    with pytest.raises(EngineError, match=rf"HTTP {code}: .*{remedy}.*; then run the stage again") as caught:
        endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 1
    assert json.dumps(said_by).split('": "')[-1].rstrip('"}') in str(caught.value)


def test_an_address_that_is_none(endpoint: Callable[..., Endpoint]) -> None:
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
    done = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    refused = done.pop(1)
    assert refused.error and refused.error.startswith(f"HTTP {code}: ")
    assert (refused.response, refused.n_tokens, refused.token_ids) == ("", 0, ())
    rest = [i for i in range(6) if i != 1]
    assert responses(done) == said([PROBLEMS[i] for i in rest], [SEEDS[i] for i in rest])
    assert len(server.requests) == 6
    assert responses(endpoint().generate(PROBLEMS, SEEDS, SAMPLING)) == said(PROBLEMS, SEEDS)
    assert len(server.requests) == 7, "a refusal cost nothing, and a server may be set up anew"


@pytest.mark.parametrize(
    ("content", "reason", "expected", "asked_again"),
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
def test_how_a_response_ended(
    server: Any,
    endpoint: Callable[..., Endpoint],
    content: str | None,
    reason: str | None,
    expected: Any,
    asked_again: int,
) -> None:
    server.answer = lambda body: (content, reason)
    for _ in range(2):
        (done,) = endpoint().generate(["2 + 2 ="], [1 << 32], SAMPLING)
        if isinstance(expected, Completion):
            assert done == expected
        else:
            assert expected in str(done.error) and done.response == ""
            assert done.n_tokens == (2 if content else 1), "it was generated, and is charged"
    assert len(server.requests) == 1 + asked_again


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
def test_a_server_that_counts_no_tokens_is_taken_to_have_used_all(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], usage: Any, reason: str, error: bool
) -> None:
    reply = {"choices": [{"finish_reason": reason, "message": {"content": "4"}}], **usage}
    server.faults = {"2 + 2 =": [faults.body(json.dumps(reply).encode())]}
    (done,) = endpoint().generate(["2 + 2 ="], [1 << 32], SAMPLING)
    assert done.billed == done.n_tokens == SAMPLING.max_new_tokens
    assert (done.response, done.error is not None) == ("" if error else "4", error)


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize("code", [429, 503])
def test_nothing_is_asked_before_the_server_wants_it(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], code: int
) -> None:
    clock, times = Clock(), []

    def answer(body: Any) -> tuple[str, str]:
        times.append(clock.time)
        return "2", "stop"

    server.answer = answer
    server.faults = {PROBLEMS[1]: [faults.status(code, BUSY, Retry_After="7")]}
    sampler = endpoint(concurrency=1)
    sampler.pace = RateLimiter(None, clock.now, clock.sleep)
    sampler.generate(PROBLEMS, SEEDS, SAMPLING)
    assert times == [0, 7, 7, 7, 7, 7]


def test_requests_a_minute() -> None:
    clock = Clock()
    pace, starts = RateLimiter(30, clock.now, clock.sleep), []

    async def run() -> None:
        for pause in (0, 0, 5, 0):
            await pace.acquire()
            starts.append(clock.time)
            pace.pause(pause)

    asyncio.run(run())
    assert starts == [0, 2, 4, 9]


def test_a_server_that_wants_hours_is_left_alone(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint]
) -> None:
    server.faults = {PROBLEMS[0]: [faults.status(429, BUSY, Retry_After="7200")]}
    with pytest.raises(
        EngineError, match=r"Rate limit reached; it asks to wait 7200 s\. .*Wait as long; then"
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


def test_the_key_reaches_the_server_and_nothing_else(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    spoken, long = f"not {KEY} again", "x" * 295 + KEY
    told = []
    for fault in (
        faults.status(401, {"error": {"message": spoken}}),
        faults.status(404, {"error": {"message": long}}),
        faults.status(500, spoken),
        faults.status(429, {"detail": long}),
        faults.body(spoken.encode()),
        faults.body(b" " * 190 + KEY.encode()),
        faults.status(400, {"error": {"message": f"{spoken}: context_length_exceeded"}}),
    ):
        server.faults = {PROBLEMS[0]: [fault] * 3}
        sampler = endpoint(api_key_env="TEACHER_KEY")
        try:
            told.append(str(sampler.generate(PROBLEMS[:2], SEEDS[:2], SAMPLING)[0].error))
        except EngineError as error:
            told.append("".join(traceback.format_exception(error)))
        told.append(repr(sampler))
    assert len(told) == 14 and set(server.keys) == {f"Bearer {KEY}"}
    assert sum("***" in text for text in told) >= 5, "the server did repeat it"
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*told, caplog.text, *written):
        assert KEY not in text and "sk-Z" not in text


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is not set"), (" ", "is not set"), ("sk\n-x\u20ac", "no key has")]
)
def test_a_key_that_cannot_be_one(
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
def test_another_request_is_asked_anew(
    server: Any, endpoint: Callable[..., Endpoint], change: Any, sampling: Sampling, seeds: list[int]
) -> None:
    endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    endpoint(concurrency=2, timeout_s=9.0, retries=0).generate(PROBLEMS, SEEDS, SAMPLING)
    assert len(server.requests) == 6
    endpoint(**change).generate(PROBLEMS, seeds, sampling)
    assert len(server.requests) == 12


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_line_that_a_kill_cut_short_is_asked_again(
    server: Any,
    endpoint: Callable[..., Endpoint],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    left: int,
) -> None:
    sampler = endpoint(concurrency=1)
    sampler.generate(PROBLEMS, SEEDS, SAMPLING)
    response_log = tmp_path / "response_log.jsonl"
    whole = response_log.read_bytes()
    *lines, last = whole.splitlines(keepends=True)
    response_log.write_bytes(b"".join(lines) + last[:left])
    done = endpoint().generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(done) == said(PROBLEMS, SEEDS)
    assert server.asked[PROBLEMS[5], 6] == 2 and len(server.requests) == 7
    assert response_log.read_bytes() == whole
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"{response_log}: the last line is cut short; its request is asked again"
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
def test_any_other_damage_is_told_with_its_line(
    server: Any, endpoint: Callable[..., Endpoint], tmp_path: Path, line: bytes
) -> None:
    endpoint(concurrency=1).generate(PROBLEMS, SEEDS, SAMPLING)
    response_log = tmp_path / "response_log.jsonl"
    lines = response_log.read_bytes().splitlines()
    response_log.write_bytes(b"\n".join([*lines[:3], line, *lines[4:]]) + b"\n")
    with pytest.raises(
        CheckpointError, match=r"response_log.jsonl:4: not a line of this response_log .*; remove the line"
    ):
        endpoint()
    response_log.write_bytes(b"\n".join([*lines[:3], *lines[4:]]) + b"\n")
    assert responses(endpoint().generate(PROBLEMS, SEEDS, SAMPLING)) == said(PROBLEMS, SEEDS)
    assert len(server.requests) == 7


def test_a_response_with_every_sort_of_line_break_is_one_line(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    text = "a\nb\r\nc\x0bd\x0ce\x1cf\x85g\u2028h\u2029i\x00\U0001f600"
    server.answer = lambda body: (text, "stop")
    assert responses(endpoint().generate(PROBLEMS[:1], SEEDS[:1], SAMPLING)) == [text]
    assert responses(endpoint().generate(PROBLEMS[:1], SEEDS[:1], SAMPLING)) == [text]
    assert len(server.requests) == 1
