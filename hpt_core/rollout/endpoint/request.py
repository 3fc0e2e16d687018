"""Requests for chat completions, and the key that names a request in the response log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpt_core.config import Sampling
from hpt_core.config.endpoint import EndpointConfig


@dataclass(frozen=True)
class ChatRequest:
    """One request for a chat completion."""

    body: dict[str, Any]
    """The JSON body."""
    seed: int
    """The seed of the sample, also where the server takes none and `body` lacks it."""

    def with_prompt(self, prompt: str) -> ChatRequest:
        """The same request with another problem."""
        messages = [*self.body["messages"][:-1], {"role": "user", "content": prompt}]
        return ChatRequest({**self.body, "messages": messages}, self.seed)


def chat_request(config: EndpointConfig, prompt: str, seed: int, sampling: Sampling) -> ChatRequest:
    """The request for one sample; `prompt` is the problem's text."""
    system = config.system_prompt
    messages = [{"role": "system", "content": system}] if system else []
    seed = seed >> 32  # Some servers accept 32 bits only.
    parameters = {
        "seed": seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
    }
    body = {
        "model": config.model,
        "messages": [*messages, {"role": "user", "content": prompt}],
        **_as_the_server_names_them(parameters, config),
        **config.body,
    }
    return ChatRequest(body, seed)


def sent_body(request: ChatRequest, config: EndpointConfig) -> dict[str, Any]:
    """The body as it is sent: how the response arrives is no part of what decides it."""
    if not config.stream:
        return request.body
    # Without this option, a stream does not count its tokens.
    options = _as_the_server_names_them({"stream_options": {"include_usage": True}}, config)
    return {**request.body, "stream": True, **options}


def request_key(request: ChatRequest, revision: str) -> str:
    """A hash of everything that decides the response; the server's address does not."""
    text = json.dumps({"revision": revision, "seed": request.seed, **request.body}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_the_server_names_them(parameters: dict[str, Any], config: EndpointConfig) -> dict[str, Any]:
    names: Mapping[Any, str | None] = config.parameters
    named = {names.get(parameter, parameter): value for parameter, value in parameters.items()}
    return {name: value for name, value in named.items() if name is not None}
