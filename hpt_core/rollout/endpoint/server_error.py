"""What a server says in an error, in whatever shape it says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ECHOES = {"input", "inputs", "prompt", "flagged_input", "messages", "body", "request", "url", "ctx"}
"""Fields of an error that repeat the request, whose words say nothing about the error."""


@dataclass(frozen=True)
class ServerError:
    """An error of a server."""

    message: str
    """What it says to people, as a text."""
    words: str
    """All that it says, in lower case, without what it repeats of the request."""
    code: int | None = None
    """The HTTP status that the error itself names; hosts send errors within a reply of status 200."""
    wait: float = 0.0
    """Seconds after which it asks to try again."""

    def says(self, patterns: str | Mapping[str, str]) -> bool:
        """True if one of the patterns matches its words."""
        alternatives = [patterns] if isinstance(patterns, str) else patterns
        return any(re.search(pattern, self.words) for pattern in alternatives)


def server_error(body: bytes) -> ServerError:
    """The error in the body of a reply: JSON of any shape, or text."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    if is_page(body):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1].strip() if title else text
    value = _parsed(text)
    if not isinstance(value, dict | list):
        return ServerError(text, text.lower(), wait=_wait(text))
    words = " ".join(_strings(value))
    return ServerError(_message(value) or text, words.lower(), _code(value), _wait(words))


def is_page(body: bytes) -> bool:
    """True for an HTML page, which a proxy or a web server sends and no model server."""
    return body.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(value: Any) -> str:
    """The text that tells most, wherever it stands: hosts nest the error of the host behind them."""
    match value:
        case str(text):
            nested = _parsed(text) if text.lstrip().startswith(("{", "[")) else None
            return (_message(nested) or text) if isinstance(nested, dict | list) else text
        case list(errors):
            return "; ".join(message for error in errors[:3] if (message := _message(error)))
        case {"metadata": {"raw": raw}, "message": str(text)}:  # OpenRouter
            return f"{text}: {_message(raw)}"
        case {"loc": list(place), "msg": str(text)}:  # FastAPI, Mistral
            return f"{'.'.join(map(str, place))}: {text}"
        case dict(error):
            keys = (
                "error",
                "message",
                "detail",
                "errors",
                "msg",
                "status_msg",
                "base_resp",
                "title",
                "error_description",
            )
            return next((message for key in keys if (message := _message(error.get(key)))), "")
        case _:
            return ""


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """All texts within an error, apart from those that repeat the request."""
    if isinstance(value, str):
        nested = _parsed(value) if value.lstrip().startswith(("{", "[")) else None
        yield from _strings(nested, depth + 1) if isinstance(nested, dict | list) else [value]
    elif isinstance(value, list) and depth < 20:
        for item in value:
            yield from _strings(item, depth + 1)
    elif isinstance(value, dict) and depth < 20:
        for key, item in value.items():
            if key not in ECHOES:
                yield from _strings(item, depth + 1)


def _code(value: Any) -> int | None:
    """The HTTP status in the fields code, status or status_code, outside or inside of `error`."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    for key in ("code", "status", "status_code"):
        code = value.get(key)
        number = int(code) if isinstance(code, str) and code.isdecimal() and len(code) == 3 else code
        if isinstance(number, int) and 400 <= number < 600:
            return number
    return _code(value.get("error"))


def _wait(words: str) -> float:
    """Seconds in "try again in 1m4.77s" (OpenAI), "retry in 33.4s" (Gemini), "retry after 20 seconds"."""
    hours, minutes, seconds = (
        r"(?:(\d{1,4})h)?",
        r"(?:(\d{1,6})m(?!s))?",
        r"(?:(\d+(?:\.\d+)?) ?(ms|s\b|sec))?",
    )
    duration = rf"(?:try again|retry)\D{{0,20}}(?=\d){hours}{minutes}{seconds}"
    match = re.search(duration, words.lower())
    if match is None:
        return 0.0
    h, m, s, unit = match.groups(default="0")
    return int(h) * 3600 + int(m) * 60 + float(s) / (1000 if unit == "ms" else 1)
