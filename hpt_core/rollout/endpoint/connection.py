"""One attempt at a request, through the `openai` client.

The client does HTTP, TLS, proxies and keep-alive. It is given no retries: it retries what cannot succeed
(`insufficient_quota`), cannot retry what comes with status 200 (an error, a broken stream), and lets each
worker wait alone, while a rate limit holds for all of them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from hpt_core.config.endpoint import EndpointConfig
from hpt_core.errors import InputError
from hpt_core.rollout.endpoint.outcome import PermanentFailure, Reply, RequestFailed, TransientFailure
from hpt_core.rollout.endpoint.proxy import Proxy, proxy_for, proxy_of_another_kind
from hpt_core.rollout.endpoint.reply import read_reply
from hpt_core.rollout.endpoint.request import ChatRequest, sent_body
from hpt_core.rollout.endpoint.response_log import ServerResponse
from hpt_core.rollout.endpoint.secrets import Secrets

if TYPE_CHECKING:
    from openai import APIConnectionError, AsyncOpenAI, Omit

GATEWAY_STATUS = (403, 407, 502, 503, 504)
"""Status codes of a proxy that does not reach the server."""


def address(config: EndpointConfig) -> str:
    """The URL of a chat completion, without query."""
    return f"{config.url.partition('?')[0]}/chat/completions"


class Connection:
    """A client of one server, to be used within one event loop."""

    def __init__(self, config: EndpointConfig, secrets: Secrets) -> None:
        """Raises RequestFailed for an address that cannot be used, InputError for such a proxy."""
        from httpx2 import InvalidURL

        self.config = config
        self.proxy = proxy_for(config.url)
        try:
            self.client = _client(config, secrets, self.proxy)
        except InvalidURL as error:
            raise RequestFailed(str(error), "Correct {section}.url") from error
        self.headers = _headers(config, secrets)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def send(self, request: ChatRequest) -> Reply:
        """The reply to one attempt."""
        from openai import APIConnectionError, APIStatusError

        body = sent_body(request, self.config)
        completions = self.client.chat.completions.with_raw_response
        try:
            async with asyncio.timeout(self.config.timeout_s):
                raw = await completions.create(
                    model=body["model"],
                    messages=body["messages"],
                    extra_body=body,
                    extra_headers=self.headers,
                )
            response = raw.http_response
        except APIStatusError as error:
            response = error.response
        except TimeoutError:
            return TransientFailure(f"no complete response within {self.config.timeout_s:g} s")
        except APIConnectionError as error:
            return _connection_failure(error, self.proxy)
        reply = read_reply(response.status_code, response.headers, response.content, body)
        if self.proxy is None or response.status_code not in GATEWAY_STATUS:
            return reply
        if self.proxy.local:
            return PermanentFailure(f"HTTP {response.status_code}", self.proxy.remedy)
        return (
            reply
            if isinstance(reply, ServerResponse)
            else replace(reply, reason=self.proxy.named(reply.reason))
        )


def _headers(config: EndpointConfig, secrets: Secrets) -> dict[str, str | Omit]:
    from openai import Omit

    headers = {**config.headers, **secrets.headers}
    if secrets.api_key or "authorization" in map(str.lower, headers):
        return dict(headers)
    return {**headers, "Authorization": Omit()}


def _client(config: EndpointConfig, secrets: Secrets, proxy: Proxy | None) -> AsyncOpenAI:
    # Imported here because it takes a second, and only a teacher behind a server needs it.
    from httpx2 import Limits
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    base, _, query = config.url.partition("?")
    # Loading TLS certificates takes 0.1 s, so plain HTTP does without.
    options: dict[str, Any] = {
        "follow_redirects": False,  # A redirected POST would become a GET.
        "verify": urlsplit(config.url).scheme == "https",
        "limits": Limits(max_connections=config.concurrency),
    }
    try:
        http_client = DefaultAsyncHttpxClient(**options)
    except (ImportError, ValueError) as error:
        # The client sets up every proxy of the environment, also those that do not apply.
        if proxy is not None:
            raise _unusable(proxy_of_another_kind() or proxy, error) from error
        http_client = DefaultAsyncHttpxClient(**options, trust_env=False)
    with _without_openai_variables():
        return AsyncOpenAI(
            base_url=base,
            api_key=secrets.api_key or "none",
            default_query=dict(parse_qsl(query)) | config.query,
            max_retries=0,
            timeout=None,  # The whole request has a time limit, and not each part of it.
            http_client=http_client,
        )


def _unusable(proxy: Proxy, error: Exception) -> InputError:
    reason, remedy = "unknown scheme", f"unset {proxy.variable}, or give it an http:// address"
    if isinstance(error, ImportError):
        reason = str(error).partition(". ")[0]
        remedy = f"install it (pip install socksio), or unset {proxy.variable}"
    return InputError(f"{proxy.variable} ({proxy.address}) cannot be used as a proxy: {reason}; {remedy}")


@contextmanager
def _without_openai_variables() -> Iterator[None]:
    """Hide OPENAI_API_KEY, OPENAI_CUSTOM_HEADERS and others, which the client would send to any server."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _connection_failure(
    error: APIConnectionError, proxy: Proxy | None
) -> PermanentFailure | TransientFailure:
    """No HTTP response: what lasts until somebody changes something, or may succeed at another attempt."""
    from httpx2 import ProxyError

    cause: BaseException = error.__cause__ or error
    reason = f"{type(cause).__name__}: {cause}"
    if proxy and (proxy.local or isinstance(cause, ProxyError)):
        return PermanentFailure(reason, proxy.remedy)
    if tls := next((found for found in _causes(cause) if isinstance(found, ssl.SSLError)), None):
        if isinstance(tls, ssl.SSLCertVerificationError):
            return PermanentFailure(
                f"its TLS certificate is not trusted ({tls.verify_message})",
                "Correct {section}.url, or name the file of the authority that signed it in SSL_CERT_FILE",
            )
        if "WRONG_VERSION_NUMBER" in str(tls) or "RECORD_LAYER_FAILURE" in str(tls):
            return PermanentFailure(
                f"the server does not speak TLS ({reason})", "Write http:// in {section}.url"
            )
    return TransientFailure(proxy.named(reason) if proxy else reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
