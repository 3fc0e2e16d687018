"""The endpoint client against a real HTTP server: no request is repeated, no response is lost."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from six_requests import PROBLEMS, SAMPLING, SEEDS, expected_responses, responses

from hpt_core.errors import EngineError, InputError
from hpt_core.protocols import Sampler
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.types import Completion


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
