"""A stream of server-sent events, assembled to the chat completion that it is a stream of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hpt_core.rollout.endpoint.message import REASONING_FIELDS


class BrokenStream(ValueError):
    """The stream ended before the response did, or holds an event that is no JSON object."""


def is_stream(body: bytes) -> bool:
    """True for server-sent events; JSON begins with a brace."""
    return body.lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def assemble(body: bytes) -> dict[str, Any]:
    """The chat completion of the first choice in a complete stream; an object with `error` if one was sent.

    Raises BrokenStream.
    """
    completion: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    message: dict[str, Any] = {}
    done = False
    for data in _events(body):
        if data.strip().upper() == "[DONE]":
            done = True
            continue
        event = _object(data)
        if event.get("error"):
            return event
        if event.get("object") == "error":  # vLLM, before it nested its errors
            return {"error": event}
        completion |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        for part in event.get("choices") or []:
            if not isinstance(part, dict) or (part.get("index") or 0) != 0:
                continue
            delta = part.pop("delta", None) or part.pop("message", None) or {}
            choice |= {key: value for key, value in part.items() if value is not None}
            for key, value in delta.items() if isinstance(delta, dict) else ():
                message[key] = _joined(key, message.get(key), value)
    if not done and choice.get("finish_reason") is None:
        raise BrokenStream("the stream ended before the response did")
    return {**completion, "choices": [{**choice, "message": message}] if choice else []}


def _joined(key: str, before: Any, value: Any) -> Any:
    """The value of a message's field after a further part of the stream."""
    if value is None or before is None:
        return before if value is None else value
    if key not in ("content", "refusal", *REASONING_FIELDS):
        return value
    if isinstance(before, str) and isinstance(value, str):
        return before + value
    # Mistral streams reasoning as lists of parts and the answer as strings.
    return [
        *(before if isinstance(before, list) else [before]),
        *(value if isinstance(value, list) else [value]),
    ]


def _events(body: bytes) -> Iterator[str]:
    """The data of each event; comments, such as the keep-alive ": OPENROUTER PROCESSING", are left out."""
    data: list[str] = []
    text = body.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    for line in [*text.split("\n"), ""]:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data.clear()


def _object(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenStream(f"an event of the stream is no JSON ({error}): {data}") from error
    if not isinstance(event, dict):
        raise BrokenStream(f"an event of the stream is no object: {data}")
    return event
