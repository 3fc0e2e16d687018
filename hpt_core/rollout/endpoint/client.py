"""Responses from any OpenAI-compatible server (`vllm serve`, a hosted teacher), one request per sample.

Each response is in the response log before it is used, so that neither a kill nor a server that stops costs
a response twice. A prompt that the server refuses gets a completion with an error, and is in the log as well.
All other failures are retried and then stop the run with an error that names the remedy.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpt_core.config import Sampling
from hpt_core.config.endpoint import EndpointConfig
from hpt_core.errors import EngineError
from hpt_core.rollout.endpoint.completion import as_completion
from hpt_core.rollout.endpoint.connection import Connection, address
from hpt_core.rollout.endpoint.outcome import Declined, PermanentFailure, Reply, RequestFailed
from hpt_core.rollout.endpoint.rate_limiter import RateLimiter
from hpt_core.rollout.endpoint.request import ChatRequest, chat_request, request_key
from hpt_core.rollout.endpoint.response_log import PromptRefused, ResponseLog, ServerResponse
from hpt_core.rollout.endpoint.secrets import Secrets
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
PROBE = "1 + 1 ="
"""A prompt that no server declines, to learn whether it declines every prompt."""
DECLINED_IN_A_ROW = 8
"""Requests that a server may decline in a row until another prompt shows whether it still answers."""
MAX_REASON = 300
"""Characters of a server's message that are shown."""


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

        Raises InputError if a secret is missing and CheckpointError if the response log is damaged.
        """
        self.config, self.section, self.backoff = config, section, backoff
        self.policy = f"{config.model}@{config.revision}"
        self.url = address(config)
        self.secrets = Secrets(config, section)
        self.response_log = ResponseLog(response_log)
        if config.retry_refused:
            self.response_log.refusals.clear()
        self.rate_limiter = RateLimiter(config.requests_per_minute)
        self.answers = False
        """The server answers requests of this run, so that it takes the parameters."""
        self.declined = 0
        """Requests that it has declined since its last answer."""
        self.unconfirmed: dict[str, PromptRefused] = {}
        """Refusals since its last answer; it may refuse everything now, so that they are not logged yet."""
        self.warned: set[str] = set()

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion for each prompt and seed; billed with max_new_tokens if the server counts no tokens.

        Raises EngineError if a request fails for good, InputError if the address or a proxy cannot be used.
        """
        requests = [
            chat_request(self.config, prompt, seed, sampling)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        keys = [request_key(request, self.config.revision) for request in requests]
        log_ = self.response_log
        pending = {
            key: request
            for key, request in zip(keys, requests, strict=True)
            if key not in log_.responses and key not in log_.refusals and key not in self.unconfirmed
        }
        if pending:
            try:
                asyncio.run(self._send_all(pending))
            except RequestFailed as failed:
                raise self._engine_error(failed.reason, failed.remedy) from failed
        if any(key in log_.responses for key in keys):
            self._confirm_refusals()
        replies = [log_.responses.get(key) or log_.refusals.get(key) or self.unconfirmed[key] for key in keys]
        self._warn(replies)
        return [as_completion(reply, sampling.max_new_tokens, self.config.reasoning) for reply in replies]

    async def _send_all(self, pending: dict[str, ChatRequest]) -> None:
        """Log the reply to each request, with `concurrency` requests at a time."""
        waiting = deque(pending.items())
        probing = asyncio.Lock()

        async def work(connection: Connection) -> None:
            while waiting:
                key, request = waiting.popleft()
                try:
                    self._keep(key, await self._ask(connection, request, probing))
                except BaseException:
                    waiting.clear()  # Requests in flight still complete, and their responses are logged.
                    raise

        async with Connection(self.config, self.secrets) as connection:
            workers = [work(connection) for _ in range(min(self.config.concurrency, len(pending)))]
            errors = await asyncio.gather(*workers, return_exceptions=True)
        if failures := [error for error in errors if error is not None]:
            raise failures[0]

    async def _ask(
        self, connection: Connection, request: ChatRequest, probing: asyncio.Lock
    ) -> ServerResponse | PromptRefused:
        """The reply to one request. Raises RequestFailed if the server would decline every request."""
        reply = await self._with_retries(connection, request)
        if not isinstance(reply, Declined):
            return reply
        async with probing:
            if self.declined >= DECLINED_IN_A_ROW or not (self.answers or reply.names_parameter):
                probe = await self._with_retries(connection, request.with_prompt(PROBE))
                self.answers, self.declined = isinstance(probe, ServerResponse), 0
        if not self.answers:
            raise RequestFailed(reply.reason, reply.remedy)
        self.declined += 1
        return PromptRefused(reply.reason)

    async def _with_retries(
        self, connection: Connection, request: ChatRequest
    ) -> ServerResponse | PromptRefused | Declined:
        """The reply to one request. Raises RequestFailed after the last attempt."""
        # A generator of its own leaves the global random state unchanged.
        jitter = random.Random(request.seed)
        attempt = 0
        while True:
            attempt += 1
            await self.rate_limiter.acquire()
            reply = self._redacted(await connection.send(request))
            if isinstance(reply, ServerResponse | PromptRefused | Declined):
                return reply
            if isinstance(reply, PermanentFailure):
                raise RequestFailed(reply.reason, reply.remedy)
            if reply.wait > MAX_SERVER_WAIT:
                reason = f"{reply.reason}; the server asks for a wait of {reply.wait:.0f} s"
                raise RequestFailed(reason, "Wait as long as it asks")
            if attempt > self.config.retries:
                reason = f"{reply.reason} (attempt {attempt} of {attempt})"
                if reply.refusal:
                    return Declined(reason, CHECK_SERVER)
                raise RequestFailed(reason, CHECK_SERVER)
            log.debug("%s: %s (attempt %d)", self.url, reply.reason, attempt)
            self.rate_limiter.pause(reply.wait)
            delay = min(self.backoff * 2 ** (attempt - 1), BACKOFF[1])
            await asyncio.sleep(delay * jitter.uniform(0.5, 1))

    def _keep(self, key: str, reply: ServerResponse | PromptRefused) -> None:
        """Log a response, and the refusals before it."""
        if isinstance(reply, PromptRefused):
            self.unconfirmed[key] = reply
            return
        self.answers, self.declined = True, 0
        self.response_log.add(key, reply)
        self._confirm_refusals()

    def _confirm_refusals(self) -> None:
        while self.unconfirmed:
            key, refusal = next(iter(self.unconfirmed.items()))
            self.response_log.add(key, refusal)
            del self.unconfirmed[key]

    def _warn(self, replies: Sequence[ServerResponse | PromptRefused]) -> None:
        """Name once what the server does in another way than was asked."""
        for reply in replies:
            if not isinstance(reply, ServerResponse):
                continue
            if reply.reasoning and self.config.reasoning == "omit":
                self._warn_once(
                    f"{self.url} returns reasoning apart from the answer, which is left out of the "
                    f"responses; {self.section}.reasoning: think puts it before the answer"
                )
            if reply.model:
                self._warn_once(
                    f"{self.url} answers as {reply.model!r}, and {self.section}.model is "
                    f"{self.config.model!r}; the responses are recorded under the latter"
                )

    def _warn_once(self, message: str) -> None:
        if message not in self.warned:
            self.warned.add(message)
            log.warning("%s", message)

    def _redacted(self, reply: Reply) -> Reply:
        """The reply without secrets, which a server may repeat, and with a short reason on one line."""
        if isinstance(reply, ServerResponse):
            return reply
        return replace(reply, reason=" ".join(self.secrets.redact(reply.reason).split())[:MAX_REASON])

    def _engine_error(self, reason: str, remedy: str) -> EngineError:
        name = self.config.api_key_env
        key = f"the environment variable {name}" if name else f"{self.section}.api_key_env"
        logged = len(self.response_log.responses)
        return EngineError(
            f"{self.url}: {reason}. Nothing is lost: {logged} responses are kept in "
            f"{self.response_log.path}. {remedy.format(key=key, section=self.section)}; then run the stage "
            "again"
        )
