"""A model behind an OpenAI-compatible server: `vllm serve`, or a hosted one."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hpt_core.config.base import Config, Positive, PositiveFloat, error_at


class EndpointConfig(Config):
    """The server, the model on it, and the limits for requests to it. The sampling parameters belong to the
    caller."""

    url: str
    """Address of the server up to the version, such as http://127.0.0.1:8000/v1."""
    model: str
    """Name of the model on the server."""
    revision: str
    """What the server runs under that name: a commit, a version or a date. It is recorded with each
    response."""
    api_key_env: str | None = None
    """NAME of the environment variable that holds the API key; null: no key. The key itself is written to no
    file."""
    system_prompt: str | None = None
    """System prompt of each request; null: none."""
    concurrency: Positive = 8
    """Requests in flight at once."""
    requests_per_minute: PositiveFloat | None = None
    """Requests started per minute at most; null: no limit."""
    timeout_s: PositiveFloat = 600.0
    """Seconds for one request, until the last byte of its response."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Retries of one request, after which the whole stage stops."""

    @field_validator("url")
    @classmethod
    def _base_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.query or parts.fragment or "@" in parts.netloc:
            # The value is not repeated: it may hold a password.
            raise error_at(
                (), "give the server's http(s) address up to the version, without user, key or query"
            )
        if parts.path.rstrip("/").endswith("/completions"):
            raise error_at((), "give the address up to the version, such as http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            # The value is not repeated: it may be the key.
            message = "give the NAME of an environment variable, in capitals; the key never stands here"
            raise error_at((), message)
        return name
