"""A log of a server's responses, which may have cost money: each is on the disk before anything reads it.

Each response is one JSON line: the key of its request, content, finish_reason, and the number of tokens that
the server counted, or null.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from hpt_core.errors import CheckpointError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerResponse:
    """One response of a server."""

    content: str
    finish_reason: str
    tokens: int | None
    """Number of tokens that the server counted; None if it does not count them."""


class ResponseLog:
    """Responses by the key of their request, appended to a file as they arrive."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError for a line that cannot be read."""
        self.path = path
        self.responses: dict[str, ServerResponse] = {}
        if path.exists():
            self._load()

    def add(self, key: str, response: ServerResponse) -> None:
        """Append the response, which is on the disk when this method returns.

        Raises OSError if it cannot be written; the file is then unchanged.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, **asdict(response)}, sort_keys=True) + "\n"
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
        self.responses[key] = response

    def _load(self) -> None:
        content = self.path.read_bytes()
        *lines, partial_line = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                key, response = _entry(**json.loads(line))
                self.responses[key] = response
            except (ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{self.path}:{number}: not a line of a response log ({error}); remove the line to "
                    "request its response again, or the file to request all of them"
                ) from error
        if partial_line:
            # A kill interrupted a write. The next line must not continue this one.
            log.warning("%s: the last line is truncated; its request will be sent again", self.path)
            os.truncate(self.path, len(content) - len(partial_line))


def _entry(key: str, content: str, finish_reason: str, tokens: int | None) -> tuple[str, ServerResponse]:
    """The key and the response of a line, whose JSON object becomes the arguments."""
    if not all(isinstance(text, str) for text in (key, content, finish_reason)):
        raise TypeError("key, content and finish_reason must be strings")
    if not isinstance(tokens, int | None):
        raise TypeError("tokens must be an integer or null")
    return key, ServerResponse(content, finish_reason, tokens)
