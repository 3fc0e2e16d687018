"""A model behind an OpenAI-compatible server: `vllm serve`, or a hosted one."""

from __future__ import annotations

import datetime
import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, field_validator

from hpt_core.config.base import Config, Positive, PositiveFloat, error_at

Reasoning = Literal["omit", "think"]
SentParameter = Literal["seed", "temperature", "top_p", "max_tokens", "stream_options"]
"""The parameters of each request that a server may know under another name, or not at all."""

_OF_THE_REQUEST = {"model", "messages", "n", "stream", "seed", "temperature", "top_p", "max_tokens"}
"""Fields of the body that other parameters decide."""
_SECRET = re.compile(r"auth|api[-_]?key|^key$|token|secret|cookie|^sig", re.IGNORECASE)
"""Names of headers and of query parameters that hold a secret."""


def _as_text(value: object) -> object:
    """YAML reads api-version: 2024-10-21 as a date, and 1 as a number."""
    return str(value) if isinstance(value, datetime.date | int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]


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
    reasoning: Reasoning = "omit"
    """Reasoning that comes apart from the answer: left out, or between <think> and </think> before it. It is
    what the server returns as reasoning_content, reasoning or thinking parts. The response log keeps it in
    both cases."""
    parameters: dict[SentParameter, str | None] = Field(default_factory=dict)
    """Parameters that this server knows under another name, or (null) does not take. Such as {max_tokens:
    max_completion_tokens, seed: null}. A request has seed, temperature, top_p and max_tokens; with stream
    also stream_options."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, such as {top_k: 20, reasoning_effort: high}."""
    headers: dict[str, Text] = Field(default_factory=dict)
    """Further headers of each request. A header with a secret belongs into headers_env."""
    headers_env: dict[str, str] = Field(default_factory=dict)
    """Header -> NAME of the environment variable that holds its value, such as {api-key: AZURE_KEY}."""
    query: dict[str, Text] = Field(default_factory=dict)
    """Query of each request, such as {api-version: 2024-10-21} on Azure."""
    stream: bool = False
    """Receive each response in parts as it is generated. Some hosts answer in no other way, or cut idle
    connections."""
    retry_refused: bool = False
    """Send the requests again that the server refused in an earlier run."""
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
        version_only = valid and {name for name, _ in parse_qsl(parts.query)} <= {"api-version"}
        if not version_only or parts.fragment or "@" in parts.netloc:
            # The value is not repeated: it may hold a password.
            raise error_at(
                (), "give the server's http(s) address up to the version, without user, key or query"
            )
        path = parts.path.rstrip("/")
        if path.endswith(("/completions", "/chat", "/models", "/responses")):
            raise error_at((), "give the address up to the version, such as http://127.0.0.1:8000/v1")
        return parts._replace(path=path).geturl()

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, name: str | None) -> str | None:
        if name is not None:
            _check_variable(name, ())
        return name

    @field_validator("headers_env")
    @classmethod
    def _variable_names(cls, headers: dict[str, str]) -> dict[str, str]:
        for header, name in headers.items():
            _check_variable(name, (header,))
        return headers

    @field_validator("headers", "query")
    @classmethod
    def _without_secrets(cls, values: dict[str, str]) -> dict[str, str]:
        for name in values:
            if _SECRET.search(name):
                raise error_at(
                    (name,),
                    "a secret never stands here; give the NAME of an environment variable in api_key_env or "
                    "headers_env",
                )
        return values

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not (name + value).isascii() or not (name + value).isprintable():
                raise error_at((name,), "a header has printable ASCII characters only; remove the others")
        return headers

    @field_validator("body")
    @classmethod
    def _adds_to_the_request(cls, body: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(body)
        except TypeError as error:
            raise error_at((), f"{error}; put a date in quotes") from None
        for name in body:
            if name in _OF_THE_REQUEST:
                raise error_at((name,), f"other parameters decide {name}; remove it here")
            if _SECRET.fullmatch(name):
                raise error_at((name,), "a secret never stands here; use api_key_env or headers_env")
        return body


def _check_variable(name: str, location: tuple[str, ...]) -> None:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        # The value is not repeated: it may be the key.
        message = "give the NAME of an environment variable, in capitals; the key never stands here"
        raise error_at(location, message)
