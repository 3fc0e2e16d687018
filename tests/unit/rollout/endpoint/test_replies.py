"""Replies as servers send them, through a real HTTP server: what is refused, retried, and stops a run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from server_replies import (
    REFUSED,
    RETRIED,
    STOPS,
    STOPS_AFTER_ANOTHER_PROMPT,
    UNEXPLAINED,
    choice,
)

from hpt_core.config import Sampling
from hpt_core.config.endpoint import Reasoning
from hpt_core.errors import EngineError
from hpt_core.rollout.endpoint.client import DECLINED_IN_A_ROW, PROBE, Endpoint
from hpt_core.rollout.endpoint.completion import as_completion
from hpt_core.rollout.endpoint.finish_reason import ENDS, end_of
from hpt_core.rollout.endpoint.outcome import Declined, PermanentFailure, TransientFailure
from hpt_core.rollout.endpoint.reply import read_reply
from hpt_core.rollout.endpoint.response_log import PromptRefused, ServerResponse
from hpt_core.types import Completion

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64)
GOOD = ["1 + 1 =", "2 + 2 ="]


def scripted(faults: Any, status: int, body: Any) -> Any:
    """The reply of this status and body."""
    return faults.raw(status, as_bytes(body))


def as_bytes(body: Any) -> bytes:
    """The body as it is sent; a string is text, and all else JSON."""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def ask(endpoint: Endpoint, *problems: str) -> list[Completion]:
    return endpoint.generate(problems, [(i + 1) << 32 for i in range(len(problems))], SAMPLING)


def test_no_refusal_stops_a_run_and_each_is_recorded_with_its_reason(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint]
) -> None:
    problems = [f"{i}: {name}" for i, (name, _, _) in enumerate(REFUSED)]
    server.faults = {
        problem: [scripted(faults, status, body)] * 9
        for problem, (_, status, body) in zip(problems, REFUSED, strict=True)
    }
    completions = ask(endpoint(concurrency=4), *GOOD, *problems)
    assert [completion.response for completion in completions[:2]] == ["1 + 1 = by 1", "2 + 2 = by 2"]
    answered = [p for p, c in zip(problems, completions[2:], strict=True) if c.error is None or c.response]
    assert answered == []
    asked_twice = [key for key, count in server.request_counts.items() if count > 1 and key[0] != PROBE]
    assert asked_twice == [], "a refusal is no fault that passes"
    assert len(server.requests) == len(completions), "a server that answers others is not probed"

    again = ask(endpoint(), *GOOD, *problems)
    assert again == completions and len(server.requests) == len(completions), "all of them are in the log"


def test_the_words_of_a_refusal_tell_that_it_concerns_the_prompt() -> None:
    """Also where the server has answered nothing yet; what exceeds a limit per minute may be each prompt."""
    request = {"model": "big", "messages": [], "max_tokens": 9, "seed": 1, "temperature": 1, "top_p": 1}
    outcomes = {name: read_reply(status, {}, as_bytes(body), request) for name, status, body in REFUSED}
    doubtful = {name for name, outcome in outcomes.items() if not isinstance(outcome, PromptRefused)}
    assert doubtful == {"OpenAI, tokens a minute", "Groq, tokens a minute"}
    assert all(isinstance(outcomes[name], Declined) for name in doubtful)


@pytest.mark.parametrize(("name", "status", "body"), UNEXPLAINED)
def test_an_unexplained_error_concerns_the_prompt_if_another_prompt_is_answered(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str, status: int, body: Any
) -> None:
    fault = scripted(faults, status, body)
    server.faults = {"odd": [fault], "odder": [fault]}
    odd, odder, good = ask(endpoint(concurrency=1), "odd", "odder", GOOD[0])
    assert odd.error and odd.error.startswith(f"HTTP {status}") and odder.error == odd.error
    assert good.response == "1 + 1 = by 3"
    assert [r["messages"][-1]["content"] for r in server.requests] == ["odd", PROBE, "odder", GOOD[0]]

    server.requests.clear()
    server.faults = {problem: [fault] * 9 for problem in ("odd", PROBE, GOOD[0])}
    with pytest.raises(EngineError, match=rf"HTTP {status}.*Change the parameter that the server does not"):
        ask(endpoint(concurrency=1, revision="r2"), "odd", GOOD[0])
    assert len(server.requests) == 2, "the prompt, and another one that is declined as well"


def test_a_server_that_begins_to_decline_everything_stops_the_run_and_loses_nothing(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], tmp_path: Path
) -> None:
    """Such as a key that is withdrawn, said in words that nobody knows."""
    problems = [f"{i} + 3 =" for i in range(30)]
    fault = scripted(faults, 400, {"error": "quark"})
    server.faults = {problem: [fault] * 9 for problem in (*problems[4:], PROBE)}
    with pytest.raises(EngineError, match=r"HTTP 400: quark\. .* 4 responses are kept"):
        ask(endpoint(concurrency=1), *problems)
    assert len(server.requests) == 4 + DECLINED_IN_A_ROW + 2, "and one more, and another prompt"
    assert "refused" not in (tmp_path / "response_log.jsonl").read_text()
    server.faults = {}
    assert all(completion.error is None for completion in ask(endpoint(), *problems))


def test_a_seed_out_of_range_is_not_the_fault_of_a_prompt(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint]
) -> None:
    body = "Failed to deserialize the JSON body: seed: invalid value: integer `4294967295`, expected i32"
    server.faults = {GOOD[1]: [scripted(faults, 422, body)]}
    with pytest.raises(EngineError, match=r"parameters: \{seed: null\}"):
        ask(endpoint(concurrency=1), *GOOD)
    assert len(server.requests) == 2, "the first was answered"


@pytest.mark.parametrize(("name", "status", "body", "remedy"), STOPS, ids=[case[0] for case in STOPS])
def test_what_no_prompt_can_pass_stops_at_once_with_the_remedy(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    name: str,
    status: int,
    body: Any,
    remedy: str,
) -> None:
    fault = scripted(faults, status, body)
    server.faults = {problem: [fault] * 9 for problem in (*GOOD, PROBE)}
    with pytest.raises(EngineError, match=rf"^http://.*{remedy}.*; then run the stage again$") as caught:
        ask(endpoint(concurrency=1, system_prompt="Add."), *GOOD)
    assert len(server.requests) == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "status", "body", "remedy"), STOPS_AFTER_ANOTHER_PROMPT)
def test_a_limit_that_every_request_exceeds_stops_the_run(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    name: str,
    status: int,
    body: Any,
    remedy: str,
) -> None:
    fault = scripted(faults, status, body)
    server.faults = {problem: [fault] * 9 for problem in (*GOOD, PROBE)}
    with pytest.raises(EngineError, match=rf"^http://.*{remedy}.*; then run the stage again$"):
        ask(endpoint(concurrency=1), *GOOD)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("name", "status", "body"), RETRIED, ids=[case[0] for case in RETRIED])
def test_what_may_pass_is_retried(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str, status: int, body: Any
) -> None:
    server.faults = {GOOD[0]: [scripted(faults, status, body)] * 2}
    assert [c.response for c in ask(endpoint(), *GOOD)] == ["1 + 1 = by 1", "2 + 2 = by 2"]
    assert server.request_counts[GOOD[0], 1] == 3


REASONS = {
    "stop": ["stop", "STOP", "eos", "eos_token", "end_turn", "END_TURN", "stop_sequence", "COMPLETE", "Stop"],
    "length": [
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "model_length",
        "max-tokens",
        "model_context_window_exceeded",
    ],
    "filtered": [
        "content_filter",
        "SAFETY",
        "RECITATION",
        "content_filter: PROHIBITED_CONTENT",
        "refusal",
        "SPII",
    ],
    "other": ["quark", "null", "OTHER", "pause_turn"],
}


@pytest.mark.parametrize("end", REASONS)
def test_the_spelling_of_a_finish_reason(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], tmp_path: Path, end: str
) -> None:
    reasons = REASONS[end]
    for reason in reasons:
        server.faults[reason] = [scripted(faults, 200, choice(reason, content="so 4"))]
    completions = ask(endpoint(), *reasons)
    if end in ("stop", "length"):
        assert {(c.response, c.finish_reason, c.error) for c in completions} == {("so 4", end, None)}
    else:
        for reason, completion in zip(reasons, completions, strict=True):
            assert completion.response == "" and repr(reason) in str(completion.error)
    lines = [json.loads(line) for line in (tmp_path / "response_log.jsonl").read_text().splitlines()]
    assert sorted(line["finish_reason"] for line in lines) == sorted(reasons), "as the server spells it"
    assert ask(endpoint(), *reasons) == completions and len(server.requests) == len(reasons)


def test_each_reason_has_one_meaning() -> None:
    reasons = [reason for row in ENDS.values() for reason in row]
    assert len(reasons) == len(set(reasons))
    assert all(end_of(reason.upper()) == end for end, row in ENDS.items() for reason in row)
    assert end_of("quark") is end_of("") is None


THOUGHT, ANSWER = "2 and 2 make 4.", "It is 4."
REASONED = {
    "reasoning_content": choice("stop", content=ANSWER, reasoning_content=THOUGHT),
    "reasoning": choice("stop", content=ANSWER, reasoning=THOUGHT),
    "both, as vLLM sends them": choice("stop", content=ANSWER, reasoning=THOUGHT, reasoning_content=THOUGHT),
    "details beside it, as OpenRouter sends them": choice(
        "stop",
        content=ANSWER,
        reasoning=THOUGHT,
        reasoning_details=[{"type": "reasoning.text", "text": THOUGHT}],
    ),
    "details alone": choice(
        "stop", content=ANSWER, reasoning_details=[{"type": "reasoning.text", "text": THOUGHT}]
    ),
    "thinking, as Ollama sends it": choice("stop", content=ANSWER, thinking=THOUGHT),
    "blocks, as LiteLLM sends them": choice(
        "stop", content=ANSWER, thinking_blocks=[{"type": "thinking", "thinking": THOUGHT, "signature": "s"}]
    ),
    "parts, as Mistral sends them": choice(
        "stop",
        content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
            {"type": "text", "text": ANSWER},
        ],
    ),
    "parts, as Anthropic sends them": choice(
        "end_turn", content=[{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    ),
    "white space around it": choice("stop", content=f"\n\n{ANSWER}", reasoning_content=f"\n{THOUGHT}\n"),
}


@pytest.mark.parametrize("name", REASONED)
def test_reasoning_apart_from_the_answer(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    server.faults = {"2 + 2": [scripted(faults, 200, REASONED[name])]}
    (plain,) = ask(endpoint(), "2 + 2")
    assert plain.response.strip() == ANSWER and plain.error is None
    [message] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert message.endswith("teacher.endpoint.reasoning: think puts it before the answer")
    (thought,) = ask(endpoint(reasoning="think"), "2 + 2")
    assert thought.response == f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
    assert len(server.requests) == 1, "the log holds both"


@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.parametrize("content", [None, "", "\n\n", []])
def test_reasoning_without_an_answer_is_no_empty_answer(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], content: Any, reason: str
) -> None:
    reply = choice(reason, content=content, reasoning_content=THOUGHT)
    server.faults = {"2 + 2": [scripted(faults, 200, reply)]}
    (plain,) = ask(endpoint(), "2 + 2")
    assert plain.response == "" and "reasoning only, and no answer" in str(plain.error)
    (thought,) = ask(endpoint(reasoning="think"), "2 + 2")
    assert thought.response == f"<think>\n{THOUGHT}\n" and thought.finish_reason == reason
    assert thought.error is None, "thinking that is not closed states nothing"
    assert len(server.requests) == 1


def test_reasoning_within_the_answer_is_not_repeated(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint]
) -> None:
    content = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
    reply = choice("stop", content=content, reasoning_content=THOUGHT)
    server.faults = {"2 + 2": [scripted(faults, 200, reply)]}
    (completion,) = ask(endpoint(reasoning="think"), "2 + 2")
    assert completion.response == content


@pytest.mark.parametrize(
    "parts", [["so ", "4"], [{"type": "text", "text": "so "}, {"type": "output_text", "text": "4"}]]
)
def test_an_answer_in_parts(server: Any, faults: Any, endpoint: Callable[..., Endpoint], parts: Any) -> None:
    server.faults = {"2 + 2": [scripted(faults, 200, choice("stop", content=parts))]}
    (completion,) = ask(endpoint(), "2 + 2")
    assert (completion.response, completion.error) == ("so 4", None)


@pytest.mark.parametrize(
    ("named", "another"),
    [
        ("big", False),
        ("BIG", False),
        ("org/big-2026-08-06", False),
        ("small", True),
        (None, False),
        (7, False),
    ],
)
def test_an_answer_by_another_model_is_named(
    server: Any,
    faults: Any,
    endpoint: Callable[..., Endpoint],
    caplog: pytest.LogCaptureFixture,
    named: Any,
    another: bool,
) -> None:
    reply = {"model": named, **choice("stop", content="4")}
    server.faults = {problem: [scripted(faults, 200, reply)] for problem in GOOD}
    for _ in range(2):
        assert [completion.response for completion in ask(endpoint(), *GOOD)] == ["4", "4"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2 * another
    assert all("answers as 'small', and teacher.endpoint.model is 'big'" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry_After": "7"}, {}, 7.0),
        ({"retry_after_ms": "1500", "Retry_After": "7"}, {}, 1.5),
        ({"retry_after_ms": "soon", "Retry_After": "7"}, {}, 7.0),
        ({}, {"error": {"message": "Rate limit reached. Please try again in 4.77s."}}, 4.77),
        ({}, {"error": {"message": "Please try again in 1m30s."}}, 90.0),
        ({}, {"error": {"message": "Please try again in 250ms."}}, 0.25),
        ({}, {"error": {"message": "Please retry after 20 seconds."}}, 20.0),
        (
            {},
            [{"error": {"code": 429, "details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "33s"}]}}],
            33.0,
        ),
        ({"Retry_After": "7"}, {"error": {"message": "Please try again in 4s."}}, 7.0),
        ({}, {"error": {"message": "try again"}}, 0.0),
    ],
)
def test_the_wait_that_a_server_asks_for(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], headers: Any, body: Any, seconds: float
) -> None:
    pauses: list[float] = []
    sampler = endpoint()
    sampler.rate_limiter.pause = pauses.append
    server.faults = {GOOD[0]: [faults.status(429, body, **headers)]}
    assert [completion.response for completion in ask(sampler, GOOD[0])] == ["1 + 1 = by 1"]
    assert pauses == [pytest.approx(seconds)]


VALUES = [
    None,
    1,
    -1,
    True,
    "",
    "x",
    [],
    {},
    [None],
    {"a": None},
    [[]],
    "{",
    '{"error":1}',
    10**30,
    1.5,
    "STOP",
]


def test_no_reply_is_beyond_reading() -> None:
    """Random replacements and cuts in all replies of this file give an outcome, and never an exception."""
    draw = random.Random(5)
    request = {"model": "big", "messages": [], "max_tokens": 9, "seed": 1}

    def altered(value: Any) -> Any:
        if draw.random() < 0.12:
            return draw.choice(VALUES)
        if isinstance(value, dict):
            return {key: altered(item) for key, item in value.items() if draw.random() > 0.05}
        return [altered(item) for item in value] if isinstance(value, list) else value

    bodies = [row[2] for row in (*REFUSED, *UNEXPLAINED, *STOPS, *RETRIED)] + list(REASONED.values()) * 5
    seen = set()
    for _ in range(4000):
        parts = [as_bytes(altered(draw.choice(bodies))) for _ in range(draw.choice([1, 1, 1, 3]))]
        body = parts[0] if len(parts) == 1 else b"".join(b"data: " + part + b"\n\n" for part in parts)
        body = body[: draw.randrange(len(body) + 1)] if draw.random() < 0.1 else body
        headers = draw.choice([{}, {"retry-after": "x"}, {"retry-after-ms": "nan"}, {"retry-after-ms": "-5"}])
        outcome = read_reply(
            draw.choice([200, 200, 200, 301, 400, 403, 404, 413, 422, 429, 500]), headers, body, request
        )
        seen.add(type(outcome))
        if isinstance(outcome, TransientFailure):
            assert 0 <= outcome.wait < 1e6
        elif isinstance(outcome, Declined | PermanentFailure):
            assert outcome.remedy.format(key="KEY", section="teacher.endpoint")
        else:
            for reasoning in get_args(Reasoning):
                as_completion(outcome, 5, reasoning)
    assert seen == {ServerResponse, PromptRefused, TransientFailure, Declined, PermanentFailure}
