"""What an OpenAI-compatible server says to one request, in our terms."""

from __future__ import annotations

import email.utils
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hpt_core.rollout.endpoint.response_log import Answer
from hpt_core.types import Completion

RETRIED = {408, 409, 425, 429}
"""And every error of the server's own: 500 and above."""
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
"""How servers refuse one prompt, mostly as too long: OpenAI's codes, the words of OpenAI, vLLM and others."""
REMEDIES = {
    401: "Set {key} to a key that this server takes",
    402: "Top up the account",
    403: "Set {key} to a key that may use this model, or correct {section}.model",
    404: "Correct {section}.model or {section}.url",
}


@dataclass(frozen=True)
class Refused:
    """This prompt cannot be answered; others may be."""

    reason: str
    tokens: int | None = 0
    """Generated all the same, as the server counts them; None where it does not."""


@dataclass(frozen=True)
class Failed:
    """Nothing came of this attempt; another may do."""

    reason: str
    wait: float = 0.0
    """Seconds that the server asks to wait."""


@dataclass(frozen=True)
class PermanentFailure:
    """No request will be answered until a person changes something."""

    reason: str
    remedy: str
    """`key` and `section` are for the asker to fill in."""


Reply = Answer | Refused | Failed | PermanentFailure


def read_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The reply in a whole HTTP response to a chat completion."""
    if status == 200:
        return _answer(body)
    code, said = _error(body)
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in RETRIED or status >= 500:
        return Failed(reason, retry_after(headers.get("retry-after")))
    if status in (400, 413, 422):
        words = f"{code} {said}".lower()
        if status == 413 or any(phrase in words for phrase in REFUSALS):
            return Refused(reason)
        return PermanentFailure(reason, "Change what the server does not take")
    return PermanentFailure(reason, REMEDIES.get(status, "Correct {section}.url"))


def retry_after(value: str | None) -> float:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; 0 where it says nothing."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def as_completion(reply: Answer | Refused, most: int) -> Completion:
    """`most` are the tokens that it may have taken, and is taken to have where the server counts none."""
    tokens = most if reply.tokens is None else reply.tokens
    if isinstance(reply, Refused):
        return Completion("", (), (), "stop", billed=tokens, error=reply.reason)
    trouble = None
    if any("\ud800" <= c <= "\udfff" for c in reply.content):
        trouble = "the response holds half a surrogate pair"
    match reply.finish_reason:
        case "stop" | "length" as reason if trouble is None:
            return Completion(reply.content, (), (), reason, billed=tokens)
        case other:
            trouble = trouble or f"the server ended it with finish_reason {other!r}"
            return Completion("", (), (), "stop", billed=tokens, error=trouble)


def _answer(body: bytes) -> Answer | Refused | Failed:
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        content, reason = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return Failed(f"not a chat completion ({type(error).__name__}: {error}): {_text(body)}")
    # Null where a reasoning model was cut off before its answer.
    if not isinstance(content, str | None):
        return Failed(f"not a chat completion: its content is no text: {_text(body)}")
    usage = reply.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    counted = tokens if isinstance(tokens, int) and 0 < tokens < 2**63 else None
    match reason:
        # Ends that the same request would come to again.
        case "stop" | "length" | "content_filter":
            return Answer(content or "", reason, counted)
        case "tool_calls" | "function_call":
            return Refused(f"the model called a tool ({reason}), and none was offered", counted)
        # A server that shuts down or is short of memory aborts what it is at.
        case _:
            return Failed(f"the server ended the response with finish_reason {reason!r}")


def _error(body: bytes) -> tuple[str, str]:
    """Code and message of an error, as OpenAI, vLLM or FastAPI write one; else the body itself."""
    text = _text(body)
    try:
        error: Any = json.loads(text)
        error = error.get("error", error)
        said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        code = error.get("code") or error.get("type") if isinstance(error, dict) else ""
    except (ValueError, AttributeError, RecursionError):
        return "", text
    return str(code or ""), str(said or text)


def _text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace").strip()
