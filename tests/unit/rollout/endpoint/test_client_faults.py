"""What the client does about a server that fails: it retries what may pass, and stops with a remedy."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from six_requests import BUSY, PROBLEMS, SAMPLING, SEEDS, expected_responses, responses

from hpt_core.errors import EngineError
from hpt_core.rollout.endpoint import client
from hpt_core.rollout.endpoint.client import PROBE, Endpoint

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
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    server.faults = {PROBLEMS[2]: [FAULTS[name](server, faults)] * 2}
    # The client has generators of its own. Other threads of this process may use the global one meanwhile.
    monkeypatch.setattr(client, "random", SimpleNamespace(Random=random.Random))
    completions = endpoint(timeout_s=0.3 if name == "hangs" else 30.0).generate(PROBLEMS, SEEDS, SAMPLING)
    assert responses(completions) == expected_responses(PROBLEMS, SEEDS)
    assert not any(completion.error for completion in completions)
    assert server.request_counts[PROBLEMS[2], 3] == 3 and len(server.requests) == 8


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
