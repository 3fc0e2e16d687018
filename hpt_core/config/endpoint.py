"""A model behind an OpenAI-compatible server: `vllm serve`, or a hosted one."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from hpt_core.config.base import Config, Positive, PositiveFloat


class EndpointConfig(Config):
    """Which model is asked where, and how hard. What is sampled is the asker's business."""

    url: str
    """Up to the version: http://127.0.0.1:8000/v1."""
    model: str
    """As the server names it."""
    revision: str
    """What the server runs under that name (a commit, a version, a date); recorded with each response."""
    api_key_env: str | None = None
    """The environment variable that holds the key. The key itself stands in no file."""
    system_prompt: str | None = None
    concurrency: Positive = 8
    """Requests under way at once."""
    requests_per_minute: PositiveFloat | None = None
    timeout_s: PositiveFloat = 600.0
    """For one request, from its first byte to the last of its response."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Of one request, before all of it stops."""

    @field_validator("url")
    @classmethod
    def _base_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            plain = False
        if not plain or parts.query or parts.fragment or "@" in parts.netloc:
            # The value is not repeated: it may hold a password.
            raise _told("give the server's http(s) address up to the version, without user, key or query")
        if parts.path.rstrip("/").endswith("/completions"):
            raise _told("give the address up to the version, such as http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            # The value is not repeated: it may be the key.
            raise _told("give the NAME of an environment variable, in capitals; the key never stands here")
        return name


def _told(message: str) -> PydanticCustomError:
    return PydanticCustomError("told", "{text}", {"text": message})
