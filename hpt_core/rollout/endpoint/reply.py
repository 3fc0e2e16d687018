"""Replies of an OpenAI-compatible server to one attempt at a request."""

from __future__ import annotations

import email.utils
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hpt_core.rollout.endpoint import error_words as words
from hpt_core.rollout.endpoint.error_reply import CORRECT_URL, read_error
from hpt_core.rollout.endpoint.finish_reason import end_of
from hpt_core.rollout.endpoint.message import read_message
from hpt_core.rollout.endpoint.outcome import PermanentFailure, Reply, TransientFailure
from hpt_core.rollout.endpoint.response_log import PromptRefused, ServerResponse
from hpt_core.rollout.endpoint.server_error import is_page, server_error
from hpt_core.rollout.endpoint.stream import BrokenStream, assemble, is_stream


def read_reply(status: int, headers: Mapping[str, str], body: bytes, request: Mapping[str, Any]) -> Reply:
    """The reply in a complete HTTP response to `request`, the body of a request for a chat completion."""
    if 200 <= status < 300:
        return _read_completion(body, request, str(request.get("model", "")))
    error = server_error(body)
    reason = f"HTTP {status}: {error.message}" if error.message else f"HTTP {status}"
    if 300 <= status < 400:
        target = headers.get("location")
        return PermanentFailure(f"{reason} (redirects to {target})" if target else reason, CORRECT_URL)
    return read_error(status, error, reason, asked_wait(headers) or error.wait, request)


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that the headers of a reply ask to wait."""
    milliseconds = retry_after(headers.get("retry-after-ms"))
    return milliseconds / 1000 or retry_after(headers.get("retry-after"))


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


def _read_completion(body: bytes, fields: Collection[str], asked: str) -> Reply:
    """The reply in the body of an HTTP response with status 200."""
    try:
        completion = assemble(body) if is_stream(body) else json.loads(body)
        if not isinstance(completion, dict):
            raise TypeError(f"a {type(completion).__name__}")
    except BrokenStream as error:
        return TransientFailure(str(error))
    except (ValueError, TypeError, RecursionError) as error:
        if is_page(body):
            page = server_error(body).message
            return PermanentFailure(f"not a chat completion but a page: {page}", CORRECT_URL)
        return TransientFailure(f"not a chat completion ({type(error).__name__}: {error}): {_text(body)}")
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if failed := completion.get("error") or (isinstance(choice, dict) and choice.get("error")):
        return _read_embedded(failed, fields)
    if choice is None:
        return _read_without_choice(completion, body, fields)
    try:
        reply = _read_choice(choice, _counted(completion.get("usage")))
    except (ValueError, TypeError, AttributeError) as error:
        return TransientFailure(f"not a chat completion ({type(error).__name__}: {error}): {_text(body)}")
    named = completion.get("model")
    if isinstance(reply, ServerResponse) and isinstance(named, str) and _is_another(named, asked):
        return replace(reply, model=named)
    return reply


def _is_another(named: str, asked: str) -> bool:
    """True unless one name holds the other, as gpt-4o-2024-08-06 and org/big do for gpt-4o and big."""
    short, long = sorted((named.casefold(), asked.casefold()), key=len)
    return bool(short) and short not in long


def _read_embedded(failed: Any, fields: Collection[str]) -> Reply:
    """An error within a reply of status 200 (OpenRouter, MiniMax, LM Studio, proxies)."""
    error = server_error(json.dumps({"error": failed}).encode())
    reason = f"not a chat completion but an error: {error.message}"
    if error.says(r"unexpected endpoint"):  # LM Studio
        return PermanentFailure(reason, CORRECT_URL)
    return read_error(error.code or 500, error, reason, error.wait, fields)


def _read_without_choice(completion: dict[str, Any], body: bytes, fields: Collection[str]) -> Reply:
    """A reply without choices: an error in other fields, a blocked prompt (Gemini, Azure), or a fault."""
    if any(key in completion for key in ("base_resp", "detail", "message", "errors", "code")):
        return _read_embedded(completion, fields)
    if re.search(words.BLOCKED, _text(body)):
        return PromptRefused(f"not a chat completion but a refusal: {_text(body)}")
    return TransientFailure(f"not a chat completion (no choices): {_text(body)}", refusal=True)


def _read_choice(choice: Any, tokens: int | None) -> Reply:
    if not isinstance(choice, dict):
        raise TypeError(f"its choice is a {type(choice).__name__}")
    reason = choice.get("finish_reason")
    end = end_of(reason) if isinstance(reason, str) else "failed"
    fields = choice.get("message")
    if fields is None and end != "filtered":
        return TransientFailure("not a chat completion (its message is null)", refusal=True)
    message = read_message(fields or {})
    if end == "failed" or (end is None and not reason):
        # A server that shuts down or runs out of memory aborts its responses.
        return TransientFailure(f"the server ended the response with finish_reason {reason!r}")
    if message.refusal and not message.content:
        return PromptRefused(f"the model refused: {message.refusal}", tokens)
    if end == "tool" or (message.calls_tool and not message.content):
        return PromptRefused(f"the model called a tool ({reason}), and none was offered", tokens)
    return ServerResponse(message.content, str(reason), tokens, message.reasoning)


def _counted(usage: Any) -> int | None:
    """The number of generated tokens, reasoning included; None if the server does not count them."""
    counts = (
        [usage.get(key) for key in ("completion_tokens", "output_tokens")] if isinstance(usage, dict) else []
    )
    return next((count for count in counts if type(count) is int and 0 < count < 2**63), None)


def _text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace").strip()
