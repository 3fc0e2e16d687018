"""A log of a server's replies, which may have cost money: each is on the disk before anything reads it.

Each reply is one JSON line. A response has the key of its request, content, finish_reason in the server's
words, and the number of tokens that the server counted, or null; also reasoning if the server returned it
apart from the answer, and model if it answered under another name. A refusal has the key, the server's reason
(refused) and tokens.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core.errors import CheckpointError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerResponse:
    """One response of a server."""

    content: str
    finish_reason: str
    tokens: int | None
    """Number of tokens that the server counted; None if it does not count them."""
    reasoning: str | None = None
    """Reasoning that the server returned apart from the answer."""
    model: str | None = None
    """Name under which the server answered, where it is another one than was asked for."""


@dataclass(frozen=True)
class PromptRefused:
    """The server does not answer this prompt; it may answer others."""

    reason: str
    tokens: int | None = 0
    """Number of tokens that the server generated nevertheless; None if it does not count them."""


class ResponseLog:
    """Replies by the key of their request, appended to a file as they arrive."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError for a line that cannot be read."""
        self.path = path
        self.responses: dict[str, ServerResponse] = {}
        self.refusals: dict[str, PromptRefused] = {}
        if path.exists():
            self._load()

    def add(self, key: str, reply: ServerResponse | PromptRefused) -> None:
        """Append the reply, which is on the disk when this method returns.

        Raises OSError if it cannot be written; the file is then unchanged.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, **_fields(reply)}, sort_keys=True) + "\n"
        unwritten = line.encode("ascii")
        with self.path.open("ab", buffering=0) as file:
            length = file.tell()
            try:
                while unwritten:
                    unwritten = unwritten[file.write(unwritten) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(length)  # The next line must not continue a part of this one.
                raise
        self._keep(key, reply)

    def _keep(self, key: str, reply: ServerResponse | PromptRefused) -> None:
        if isinstance(reply, ServerResponse):
            self.responses[key] = reply
            self.refusals.pop(key, None)
        elif key not in self.responses:
            self.refusals[key] = reply

    def _load(self) -> None:
        content = self.path.read_bytes()
        *lines, partial_line = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                self._keep(*_entry(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{self.path}:{number}: not a line of a response log ({error}); remove the line to "
                    "request its response again, or the file to request all of them"
                ) from error
        if partial_line:
            # A kill interrupted a write. The next line must not continue this one.
            log.warning("%s: the last line is truncated; its request will be sent again", self.path)
            os.truncate(self.path, len(content) - len(partial_line))


def _fields(reply: ServerResponse | PromptRefused) -> dict[str, Any]:
    if isinstance(reply, PromptRefused):
        return {"refused": reply.reason, "tokens": reply.tokens}
    optional = {"reasoning": reply.reasoning, "model": reply.model}
    return {
        "content": reply.content,
        "finish_reason": reply.finish_reason,
        "tokens": reply.tokens,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _entry(
    key: str,
    tokens: int | None,
    content: str | None = None,
    finish_reason: str | None = None,
    reasoning: str | None = None,
    model: str | None = None,
    refused: str | None = None,
) -> tuple[str, ServerResponse | PromptRefused]:
    """The key and the reply of a line, whose JSON object becomes the arguments."""
    if not isinstance(key, str):
        raise TypeError("key must be a string")
    if not isinstance(tokens, int | None):
        raise TypeError("tokens must be an integer or null")
    if isinstance(refused, str):
        return key, PromptRefused(refused, tokens)
    if not (isinstance(content, str) and isinstance(finish_reason, str)):
        raise TypeError("content and finish_reason must be strings")
    if not (isinstance(reasoning, str | None) and isinstance(model, str | None)):
        raise TypeError("reasoning and model must be strings")
    return key, ServerResponse(content, finish_reason, tokens, reasoning, model)
