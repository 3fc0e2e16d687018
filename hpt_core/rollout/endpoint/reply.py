"""Replies of an OpenAI-compatible server to one request, classified by what to do next."""

from __future__ import annotations

import email.utils
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hpt_core.rollout.endpoint.response_log import ServerResponse
from hpt_core.types import Completion

RETRIED = {408, 409, 425, 429}
"""Status codes below 500 after which a request is sent again; all codes from 500 on are retried too."""
REFUSALS = (
    "content_filter",
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum model length",
    "max_model_len",
    "prompt is too long",
    "input is too long",
)
"""Error codes and phrases with which OpenAI, vLLM and others refuse one prompt, mostly as too long."""
REMEDIES = {
    401: "Set {key} to a key that this server accepts",
    402: "Top up the account",
    403: "Set {key} to a key that may use this model, or correct {section}.model",
    404: "Correct {section}.model or {section}.url",
}


@dataclass(frozen=True)
class PromptRefused:
    """The server does not answer this prompt; it may answer others."""

    reason: str
    tokens: int | None = 0
    """Number of tokens that the server generated nevertheless; None if it does not count them."""


@dataclass(frozen=True)
class TransientFailure:
    """This attempt failed; another one may succeed."""

    reason: str
    wait: float = 0.0
    """Seconds that the server asks the client to wait."""


@dataclass(frozen=True)
class PermanentFailure:
    """Every request will fail until a person changes something."""

    reason: str
    remedy: str
    """A format string with the fields `key` and `section`, which the client fills in."""


Reply = ServerResponse | PromptRefused | TransientFailure | PermanentFailure


def read_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The reply in a complete HTTP response to a request for a chat completion."""
    if status == 200:
        return _completion(body)
    code, message = _error(body)
    reason = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in RETRIED or status >= 500:
        return TransientFailure(reason, retry_after(headers.get("retry-after")))
    if status in (400, 413, 422):
        text = f"{code} {message}".lower()
        if status == 413 or any(phrase in text for phrase in REFUSALS):
            return PromptRefused(reason)
        return PermanentFailure(reason, "Change the parameter that the server does not accept")
    return PermanentFailure(reason, REMEDIES.get(status, "Correct {section}.url"))


def retry_after(value: str | None) -> float:
    """Seconds to wait by a Retry-After header (seconds or a date); 0 if it is missing or invalid."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            time = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (time.replace(tzinfo=time.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def as_completion(reply: ServerResponse | PromptRefused, max_tokens: int) -> Completion:
    """The reply as a completion, billed with `max_tokens` if the server did not count its tokens."""
    tokens = max_tokens if reply.tokens is None else reply.tokens
    if isinstance(reply, PromptRefused):
        return Completion("", (), (), "stop", billed=tokens, error=reply.reason)
    error = None
    if any("\ud800" <= c <= "\udfff" for c in reply.content):
        error = "the response holds half a surrogate pair"
    match reply.finish_reason:
        case "stop" | "length" as reason if error is None:
            return Completion(reply.content, (), (), reason, billed=tokens)
        case other:
            error = error or f"the server ended it with finish_reason {other!r}"
            return Completion("", (), (), "stop", billed=tokens, error=error)


def _completion(body: bytes) -> ServerResponse | PromptRefused | TransientFailure:
    """The reply in the body of an HTTP response with status 200."""
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        content, reason = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return TransientFailure(f"not a chat completion ({type(error).__name__}: {error}): {_text(body)}")
    # The content is null if the length limit ended a reasoning model's response before its answer.
    if not isinstance(content, str | None):
        return TransientFailure(f"not a chat completion: its content is not a string: {_text(body)}")
    usage = completion.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    counted = tokens if isinstance(tokens, int) and 0 < tokens < 2**63 else None
    match reason:
        # The same request would end in the same way again.
        case "stop" | "length" | "content_filter":
            return ServerResponse(content or "", reason, counted)
        case "tool_calls" | "function_call":
            return PromptRefused(f"the model called a tool ({reason}), and none was offered", counted)
        # A server that shuts down or runs out of memory aborts its responses.
        case _:
            return TransientFailure(f"the server ended the response with finish_reason {reason!r}")


def _error(body: bytes) -> tuple[str, str]:
    """Code and message of an error in the format of OpenAI, vLLM or FastAPI; else no code and the body."""
    text = _text(body)
    try:
        error: Any = json.loads(text)
        error = error.get("error", error)
        message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        code = error.get("code") or error.get("type") if isinstance(error, dict) else ""
    except (ValueError, AttributeError, RecursionError):
        return "", text
    return str(code or ""), str(message or text)


def _text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace").strip()
