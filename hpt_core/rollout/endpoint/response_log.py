"""Responses that were paid for, one JSON line each, on the disk before anything else is done with them.

A line has the key of its request, the content and finish_reason of its answer, and the tokens that the server
counted, or null.
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
class Answer:
    """What a server answered."""

    content: str
    finish_reason: str
    tokens: int | None
    """As the server counts them; None where it does not."""


class ResponseLog:
    """Answers by the key of their request, appended to a file as they come."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError for a line that cannot be read."""
        self.path = path
        self.answers: dict[str, Answer] = {}
        if path.exists():
            self._load()

    def add(self, key: str, answer: Answer) -> None:
        """Keep the answer: it is on the disk when this returns.

        Raises OSError where it cannot be written; the file is then as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, **asdict(answer)}, sort_keys=True) + "\n"
        left = line.encode("ascii")
        with self.path.open("ab", buffering=0) as file:
            length = file.tell()
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(length)  # the next line must not be glued to half of this one
                raise
        self.answers[key] = answer

    def _load(self) -> None:
        content = self.path.read_bytes()
        *lines, rest = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                key, answer = _entry(**json.loads(line))
                self.answers[key] = answer
            except (ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{self.path}:{number}: not a line of this log ({error}); remove the line to ask for "
                    "its response again, or the file to ask for all"
                ) from error
        if rest:
            # A kill in the middle of a write; the next line must not be glued to it.
            log.warning("%s: the last line is cut short; its request is asked again", self.path)
            os.truncate(self.path, len(content) - len(rest))


def _entry(key: str, content: str, finish_reason: str, tokens: int | None) -> tuple[str, Answer]:
    if not all(isinstance(text, str) for text in (key, content, finish_reason)):
        raise TypeError("key, content and finish_reason are text")
    if not isinstance(tokens, int | None):
        raise TypeError("tokens is a whole number, or null")
    return key, Answer(content, finish_reason, tokens)
