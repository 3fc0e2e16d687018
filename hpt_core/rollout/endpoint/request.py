"""Requests for chat completions, and the key that names a request in the response log."""

from __future__ import annotations

import hashlib
import json
from typing import TypedDict

from hpt_core.config import Sampling
from hpt_core.config.endpoint import EndpointConfig


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class ChatRequest(TypedDict):
    """The JSON body of a request for a chat completion."""

    model: str
    messages: list[Message]
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


def chat_request(config: EndpointConfig, prompt: str, seed: int, sampling: Sampling) -> ChatRequest:
    """The request for one sample; `prompt` is the problem's text."""
    system = config.system_prompt
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    return {
        "model": config.model,
        "messages": [*messages, {"role": "user", "content": prompt}],
        "seed": seed >> 32,  # Some servers accept 32 bits only.
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
    }


def request_key(request: ChatRequest, revision: str) -> str:
    """A hash of everything that decides the response; the server's address does not."""
    text = json.dumps({"revision": revision, **request}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
