"""Responses from any OpenAI-compatible server (`vllm serve`, a hosted teacher): one request a sample.

What was answered is in a response_log before it is used, so that neither a kill nor a dead server costs a
response twice. A prompt that the server refuses fails alone; whatever else goes wrong is tried again,
and then stops the run with what to do. Nothing is ever made up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from hpt_core.config import Sampling
from hpt_core.config.endpoint import EndpointConfig
from hpt_core.errors import EngineError, InputError
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.reply import (
    Failed,
    PermanentFailure,
    Refused,
    Reply,
    as_completion,
    read_reply,
)
from hpt_core.rollout.endpoint.response_log import Answer, ResponseLog
from hpt_core.types import Completion

log = logging.getLogger(__name__)
Body = dict[str, Any]

BACKOFF = (1.0, 60.0)
"""Seconds before the second attempt, doubled for each one after it, and the most of them."""
LONGEST_WAIT = 600.0
"""Seconds: a server that asks for more is come back to by a person."""
LOAD = (
    "See that the server is up and its address right; {section}.timeout_s, {section}.retries, "
    "{section}.concurrency and {section}.requests_per_minute give it more time or less to do"
)
SHOWN = 300
"""Characters of what a server said."""


class Stop(Exception):
    """One request cannot be answered, so that no other is begun."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy


class Endpoint:
    """Asks a server; implements `Sampler[str]`: a prompt is the problem's text."""

    def __init__(
        self,
        config: EndpointConfig,
        response_log: Path,
        section: str = "endpoint",
        backoff: float = BACKOFF[0],
    ) -> None:
        """`section` is where `config` stands in the parameters, for messages.

        Raises InputError where the key is missing, CheckpointError for a damaged response_log.
        """
        self.config, self.section, self.backoff = config, section, backoff
        self.policy = f"{config.model}@{config.revision}"
        self.url = f"{config.url}/chat/completions"
        self.secret = _secret(config.api_key_env, section)
        self.response_log = ResponseLog(response_log)
        self.pace = RateLimiter(config.requests_per_minute)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """A completion whose tokens the server does not count is billed with max_new_tokens.

        Raises EngineError where the server cannot be brought to answer.
        """
        bodies = [self._body(prompt, seed, sampling) for prompt, seed in zip(prompts, seeds, strict=True)]
        keys = [self._key(body) for body in bodies]
        known = self.response_log.answers
        todo = {key: body for key, body in zip(keys, bodies, strict=True) if key not in known}
        replies: dict[str, Answer | Refused] = asyncio.run(self._ask_all(todo)) if todo else {}
        return [as_completion(known.get(key) or replies[key], sampling.max_new_tokens) for key in keys]

    def _body(self, prompt: str, seed: int, sampling: Sampling) -> Body:
        system = self.config.system_prompt
        turns = [{"role": "system", "content": system}] if system else []
        return {
            "model": self.config.model,
            "messages": [*turns, {"role": "user", "content": prompt}],
            "seed": seed >> 32,  # some servers take 32 bits
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
        }

    def _key(self, body: Body) -> str:
        """Names the request by all that decides its answer; where the server stands does not."""
        text = json.dumps({"revision": self.config.revision, **body}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    async def _ask_all(self, todo: dict[str, Body]) -> dict[str, Answer | Refused]:
        replies: dict[str, Answer | Refused] = {}
        waiting = deque(todo.items())
        headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        limits = httpx.Limits(max_connections=self.config.concurrency)

        async def work(client: httpx.AsyncClient) -> None:
            while waiting:
                key, body = waiting.popleft()
                try:
                    replies[key] = await self._ask(client, key, body)
                except BaseException:
                    waiting.clear()  # the requests under way still end, and are kept
                    raise

        # Certificates take 0.1 s to read.
        tls = self.url.startswith("https:")
        async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits, verify=tls) as client:
            workers = [work(client) for _ in range(min(self.config.concurrency, len(todo)))]
            ends = await asyncio.gather(*workers, return_exceptions=True)
        for error in ends:
            if isinstance(error, Stop):
                raise self._error(error.reason, error.remedy)
            if error is not None:
                raise error
        return replies

    async def _ask(self, client: httpx.AsyncClient, key: str, body: Body) -> Answer | Refused:
        """The reply to one request, after as many attempts as it takes."""
        draw = random.Random(key)  # of its own: no other draw moves
        attempt = 0
        while True:
            attempt += 1
            await self.pace.acquire()
            reply = self._clean(await self._attempt(client, body))
            if isinstance(reply, Answer | Refused):
                if isinstance(reply, Answer):
                    self.response_log.add(key, reply)
                return reply
            if isinstance(reply, PermanentFailure):
                raise Stop(reply.reason, reply.remedy)
            if reply.wait > LONGEST_WAIT:
                raise Stop(f"{reply.reason}; it asks to wait {reply.wait:.0f} s", "Wait as long")
            if attempt > self.config.retries:
                raise Stop(f"{reply.reason} (attempt {attempt}, the last)", LOAD)
            log.debug("%s: %s (attempt %d)", self.url, reply.reason, attempt)
            self.pace.pause(reply.wait)
            await asyncio.sleep(min(self.backoff * 2 ** (attempt - 1), BACKOFF[1]) * draw.uniform(0.5, 1))

    async def _attempt(self, client: httpx.AsyncClient, body: Body) -> Reply:
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await client.post(self.url, json=body)
        except TimeoutError:
            return Failed(f"no whole answer within {self.config.timeout_s:g} s")
        except httpx.InvalidURL as error:
            return PermanentFailure(str(error), "Correct {section}.url")
        except httpx.RequestError as error:
            return Failed(f"{type(error).__name__}: {error}")
        return read_reply(response.status_code, response.headers, response.content)

    def _clean(self, reply: Reply) -> Reply:
        """Without the key, which a server may repeat."""
        if isinstance(reply, Answer):
            return reply
        reason = reply.reason.replace(self.secret, "***") if self.secret else reply.reason
        return replace(reply, reason=" ".join(reason.split())[:SHOWN])

    def _error(self, reason: str, remedy: str) -> EngineError:
        name = self.config.api_key_env
        key = f"the environment variable {name}" if name else f"{self.section}.api_key_env"
        return EngineError(
            f"{self.url}: {reason}. Nothing is lost: {len(self.response_log.answers)} responses are kept in "
            f"{self.response_log.path}. {remedy.format(key=key, section=self.section)}; then run the stage "
            "again"
        )


def _secret(name: str | None, section: str) -> str:
    """The key, "" where none is needed."""
    if name is None:
        return ""
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise InputError(f"{name} is not set, and {section}.api_key_env names it; set it to the server's key")
    if not (secret.isascii() and secret.isprintable()):
        # An HTTP library would repeat it in its complaint.
        raise InputError(f"{name} holds characters that no key has; set it to the server's key alone")
    return secret
