"""Responses from any OpenAI-compatible server (`vllm serve`, a hosted teacher), one request per sample.

Each response is in the response log before it is used, so that neither a kill nor a server that stops costs
a response twice. A prompt that the server refuses gets a completion with an error. All other failures are
retried and then stop the run with an error that names the remedy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from hpt_core.config import Sampling
from hpt_core.config.endpoint import EndpointConfig
from hpt_core.errors import EngineError, InputError
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.reply import (
    PermanentFailure,
    PromptRefused,
    Reply,
    TransientFailure,
    as_completion,
    read_reply,
)
from hpt_core.rollout.endpoint.request import ChatRequest, chat_request, request_key
from hpt_core.rollout.endpoint.response_log import ResponseLog, ServerResponse
from hpt_core.types import Completion

log = logging.getLogger(__name__)

BACKOFF = (1.0, 60.0)
"""Seconds before the second attempt, which double for each further attempt, and their maximum."""
MAX_SERVER_WAIT = 600.0
"""Longest wait in seconds that a server may ask for; the run stops at a longer one."""
CHECK_SERVER = (
    "Check that the server runs and that its address is right; a higher {section}.timeout_s or "
    "{section}.retries, or a lower {section}.concurrency or {section}.requests_per_minute, may help"
)
MAX_REASON = 300
"""Characters of a server's message that are shown."""


class RequestFailed(Exception):
    """A request failed for good, so no further request is started."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy


class Endpoint:
    """A client of one server; implements `Sampler[str]`, where a prompt is the problem's text."""

    def __init__(
        self,
        config: EndpointConfig,
        response_log: Path,
        section: str = "endpoint",
        backoff: float = BACKOFF[0],
    ) -> None:
        """`section` is the place of `config` in the parameters, for error messages.

        Raises InputError if the API key is missing and CheckpointError if the response log is damaged.
        """
        self.config, self.section, self.backoff = config, section, backoff
        self.policy = f"{config.model}@{config.revision}"
        self.url = f"{config.url}/chat/completions"
        self.api_key = _api_key(config.api_key_env, section)
        self.response_log = ResponseLog(response_log)
        self.rate_limiter = RateLimiter(config.requests_per_minute)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion for each prompt and seed; billed with max_new_tokens if the server counts no tokens.

        Raises EngineError if a request fails for good.
        """
        requests = [
            chat_request(self.config, prompt, seed, sampling)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        keys = [request_key(request, self.config.revision) for request in requests]
        logged = self.response_log.responses
        pending = {key: request for key, request in zip(keys, requests, strict=True) if key not in logged}
        replies: dict[str, ServerResponse | PromptRefused] = {}
        if pending:
            replies = asyncio.run(self._send_all(pending))
        return [as_completion(logged.get(key) or replies[key], sampling.max_new_tokens) for key in keys]

    async def _send_all(self, pending: dict[str, ChatRequest]) -> dict[str, ServerResponse | PromptRefused]:
        """The reply to each request by its key, with `concurrency` requests at a time."""
        replies: dict[str, ServerResponse | PromptRefused] = {}
        waiting = deque(pending.items())
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        limits = httpx.Limits(max_connections=self.config.concurrency)

        async def work(client: httpx.AsyncClient) -> None:
            while waiting:
                key, request = waiting.popleft()
                try:
                    replies[key] = await self._send_with_retries(client, key, request)
                except BaseException:
                    waiting.clear()  # Requests in flight still complete, and their responses are logged.
                    raise

        # Loading TLS certificates takes 0.1 s, so plain HTTP does without.
        tls = self.url.startswith("https:")
        async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits, verify=tls) as client:
            workers = [work(client) for _ in range(min(self.config.concurrency, len(pending)))]
            errors = await asyncio.gather(*workers, return_exceptions=True)
        for error in errors:
            if isinstance(error, RequestFailed):
                raise self._engine_error(error.reason, error.remedy)
            if error is not None:
                raise error
        return replies

    async def _send_with_retries(
        self, client: httpx.AsyncClient, key: str, request: ChatRequest
    ) -> ServerResponse | PromptRefused:
        """The reply to one request; a response is logged. Raises RequestFailed after the last attempt."""
        # A generator of its own leaves the global random state unchanged.
        jitter = random.Random(key)
        attempt = 0
        while True:
            attempt += 1
            await self.rate_limiter.acquire()
            reply = self._redacted(await self._send_once(client, request))
            if isinstance(reply, ServerResponse | PromptRefused):
                if isinstance(reply, ServerResponse):
                    self.response_log.add(key, reply)
                return reply
            if isinstance(reply, PermanentFailure):
                raise RequestFailed(reply.reason, reply.remedy)
            if reply.wait > MAX_SERVER_WAIT:
                reason = f"{reply.reason}; the server asks for a wait of {reply.wait:.0f} s"
                raise RequestFailed(reason, "Wait as long as it asks")
            if attempt > self.config.retries:
                raise RequestFailed(f"{reply.reason} (attempt {attempt} of {attempt})", CHECK_SERVER)
            log.debug("%s: %s (attempt %d)", self.url, reply.reason, attempt)
            self.rate_limiter.pause(reply.wait)
            delay = min(self.backoff * 2 ** (attempt - 1), BACKOFF[1])
            await asyncio.sleep(delay * jitter.uniform(0.5, 1))

    async def _send_once(self, client: httpx.AsyncClient, request: ChatRequest) -> Reply:
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await client.post(self.url, json=request)
        except TimeoutError:
            return TransientFailure(f"no complete response within {self.config.timeout_s:g} s")
        except httpx.InvalidURL as error:
            return PermanentFailure(str(error), "Correct {section}.url")
        except httpx.RequestError as error:
            return TransientFailure(f"{type(error).__name__}: {error}")
        return read_reply(response.status_code, response.headers, response.content)

    def _redacted(self, reply: Reply) -> Reply:
        """The reply without the API key, which a server may repeat, and with a short reason on one line."""
        if isinstance(reply, ServerResponse):
            return reply
        reason = reply.reason.replace(self.api_key, "***") if self.api_key else reply.reason
        return replace(reply, reason=" ".join(reason.split())[:MAX_REASON])

    def _engine_error(self, reason: str, remedy: str) -> EngineError:
        name = self.config.api_key_env
        key = f"the environment variable {name}" if name else f"{self.section}.api_key_env"
        logged = len(self.response_log.responses)
        return EngineError(
            f"{self.url}: {reason}. Nothing is lost: {logged} responses are kept in "
            f"{self.response_log.path}. {remedy.format(key=key, section=self.section)}; then run the stage "
            "again"
        )


def _api_key(name: str | None, section: str) -> str:
    """The API key in the environment variable `name`; "" if none is needed."""
    if name is None:
        return ""
    api_key = os.environ.get(name, "").strip()
    if not api_key:
        raise InputError(f"{name} is not set, and {section}.api_key_env names it; set it to the server's key")
    if not (api_key.isascii() and api_key.isprintable()):
        # The error of an HTTP library would contain the key.
        raise InputError(f"{name} holds characters that no key has; set it to the server's key alone")
    return api_key
