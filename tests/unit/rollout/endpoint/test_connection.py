"""What a request holds by the parameters of a host, streams, secrets and proxies, with a real HTTP server."""

from __future__ import annotations

import datetime
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hpt_core.config import EndpointConfig, Sampling
from hpt_core.errors import EngineError, InputError
from hpt_core.rollout.endpoint.client import Endpoint
from hpt_core.types import Completion

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64)
PROXIES = [
    name
    for scheme in ("http", "https", "all", "no")
    for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
]


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def ask(endpoint: Endpoint, *problems: str, seeds: int = 1) -> list[Completion]:
    asked = [(problem, (i + 1) << 32) for problem in problems for i in range(seeds)]
    return endpoint.generate([p for p, _ in asked], [seed for _, seed in asked], SAMPLING)


def test_parameters_are_renamed_or_left_out_and_others_added(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    server.answer = lambda request: (f"4 by {request['random_seed']}", "stop")
    sampler = endpoint(
        parameters={"max_tokens": "max_completion_tokens", "top_p": None, "seed": "random_seed"},
        body={"top_k": 20, "chat_template_kwargs": {"enable_thinking": True}},
    )
    assert [completion.response for completion in ask(sampler, "2 + 2", seeds=2)] == ["4 by 1", "4 by 2"]
    fields = "chat_template_kwargs max_completion_tokens messages model random_seed temperature top_k"
    assert [" ".join(sorted(request)) for request in server.requests] == [fields] * 2
    assert server.requests[0]["max_completion_tokens"] == 64 and server.requests[0]["top_k"] == 20


def test_samples_of_one_prompt_stay_apart_where_the_server_takes_no_seed(
    server: Any, endpoint: Callable[..., Endpoint]
) -> None:
    answers = iter(["4", "four", "IV"])
    server.answer = lambda request: (next(answers), "stop")
    sampled = ask(endpoint(parameters={"seed": None}, concurrency=1), "2 + 2", seeds=3)
    assert [completion.response for completion in sampled] == ["4", "four", "IV"]
    assert all("seed" not in request for request in server.requests)
    assert ask(endpoint(parameters={"seed": None}), "2 + 2", seeds=3) == sampled, "each is in the log"
    assert len(server.requests) == 3


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "big", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


USAGE = {"choices": [], "usage": {"completion_tokens": 5}}
THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "Let "}]}]
STREAMS = {
    "OpenAI": [
        chunk(role="assistant", content=""),
        chunk(content="It is"),
        chunk(content=" 4."),
        chunk("stop"),
        USAGE,
    ],
    "null": [chunk(content=None), chunk(content="It is 4."), chunk("eos", content=None), USAGE],
    "the end with the last text": [
        chunk(content="It is "),
        {**chunk("stop", content="4."), **{"usage": USAGE["usage"]}},
    ],
    "messages": [
        {"choices": [{"message": {"content": "It is 4."}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    ],
    "two choices": [
        {"choices": [{"index": 1, "delta": {"content": "No."}, "finish_reason": "stop"}]},
        chunk("stop", content="It is 4."),
        USAGE,
    ],
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_is_assembled(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str, asked: bool
) -> None:
    """Also where the server streams without being asked."""
    server.faults = {"2 + 2": [faults.events(*STREAMS[name])]}
    expected = Completion("It is 4.", (), (), "stop", billed=5)
    assert ask(endpoint(stream=asked), "2 + 2") == [expected]
    assert [request.get("stream_options") for request in server.requests] == [
        {"include_usage": True} if asked else None
    ]
    assert ask(endpoint(stream=not asked), "2 + 2") == [expected]
    assert len(server.requests) == 1, "how a response arrives is no part of the key"


@pytest.mark.parametrize(
    "reasoning",
    [
        [{"reasoning_content": "Let "}, {"reasoning_content": "me."}],
        [{"reasoning": "Let ", "content": None}, {"reasoning": "me."}],
        [
            {"content": THOUGHT},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "me."}]}]},
        ],
    ],
)
def test_a_stream_with_reasoning(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], reasoning: list[dict[str, Any]]
) -> None:
    chunks = [chunk(**delta) for delta in reasoning] + [chunk(content="4"), chunk("stop", content=".")]
    server.faults = {"2 + 2": [faults.events(*chunks, USAGE)]}
    (completion,) = ask(endpoint(stream=True, reasoning="think"), "2 + 2")
    assert (completion.response, completion.billed) == ("<think>\nLet me.\n</think>\n\n4.", 5)


BROKEN = {
    "it ends early": lambda faults: faults.events(chunk(content="It"), end=""),
    "without an end": lambda faults: faults.events(chunk(content="It is 4.")),
    "an event cut short": lambda faults: faults.events(
        chunk(content="It"), end='data: {"choices": [{"delta": {"con'
    ),
    "an event that is no object": lambda faults: faults.events(chunk(content="It"), 7),
    "an error of the provider": lambda faults: faults.events(
        chunk(content="It"), {"error": {"code": 502, "message": "no"}}
    ),
    "it ends with an error": lambda faults: faults.events(chunk("error", content="It")),
    "nothing": lambda faults: faults.events(end=""),
    "comments only": lambda faults: faults.events(end=": OPENROUTER PROCESSING\n\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_retried(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], name: str
) -> None:
    server.faults = {"2 + 2": [BROKEN[name](faults)] * 2}
    assert [c.response for c in ask(endpoint(stream=True), "2 + 2")] == ["2 + 2 by 1"], (
        "the third is not streamed"
    )
    assert len(server.requests) == 3
    server.faults = {"2 + 3": [BROKEN[name](faults)] * 3}
    with pytest.raises(EngineError, match=r"attempt 3 of 3"):
        ask(endpoint(stream=True), "2 + 3")


def test_a_refusal_within_a_stream(server: Any, faults: Any, endpoint: Callable[..., Endpoint]) -> None:
    refused = {"error": {"code": 400, "message": "This model's maximum context length is 8 tokens."}}
    server.faults = {
        "long": [faults.events(refused)],
        "filtered": [faults.events(chunk(content="It"), chunk("content_filter"))],
    }
    long, filtered, good = ask(endpoint(stream=True), "long", "filtered", "2 + 2")
    assert "maximum context length" in str(long.error) and "'content_filter'" in str(filtered.error)
    assert good.response == "2 + 2 by 1" and len(server.requests) == 3


def test_headers_and_query_reach_the_server(
    server: Any,
    endpoint: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AZURE_KEY", "azure-Zq7")
    settings = {
        "headers": {"X-Title": "HPT"},
        "headers_env": {"api-key": "AZURE_KEY"},
        "query": {"api-version": "2024-10-21"},
    }
    assert ask(endpoint(**settings), "2 + 2")[0].error is None
    assert server.queries == ["api-version=2024-10-21"] and server.keys == [None]
    assert server.headers[0]["api-key"] == "azure-Zq7" and server.headers[0]["x-title"] == "HPT"
    assert ask(endpoint(url=f"{server.url}/?api-version=2024-10-21"), "2 + 3")[0].error is None
    assert server.queries[1] == "api-version=2024-10-21"
    assert "azure-Zq7" not in caplog.text
    monkeypatch.delenv("AZURE_KEY")
    with pytest.raises(InputError, match=r"^AZURE_KEY is not set, and teacher.endpoint.headers_env names it"):
        endpoint(**settings)


def test_a_header_with_a_secret_is_in_no_message(
    server: Any, faults: Any, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY", "azure-Zq7")
    server.faults = {"2 + 2": [faults.status(401, {"error": {"message": "no azure-Zq7 here"}})]}
    with pytest.raises(EngineError, match=r"no \*\*\* here") as caught:
        ask(endpoint(headers_env={"api-key": "AZURE_KEY"}), "2 + 2")
    assert "Zq7" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"headers": {"Authorization": "Bearer sk-Zq7"}}, "NAME of an environment variable"),
        ({"headers": {"X-API-Key": "sk-Zq7"}}, "NAME of an environment variable"),
        ({"query": {"key": "sk-Zq7"}}, "NAME of an environment variable"),
        ({"headers_env": {"api-key": "sk-Zq7"}}, "NAME of an environment variable, in capitals"),
        ({"body": {"api_key": "sk-Zq7"}}, "a secret never stands here"),
        ({"headers": {"X-Title": "Züri"}}, "printable ASCII characters only"),
        ({"body": {"day": datetime.date(2024, 10, 21)}}, "put a date in quotes"),
        ({"body": {"n": 4}}, "other parameters decide n"),
        ({"body": {"messages": []}}, "other parameters decide messages"),
        ({"parameters": {"top_k": None}}, "Input should be 'seed'"),
        ({"url": "http://host/v1?key=sk-Zq7"}, "without user, key or query"),
        ({"url": "http://host/v1?api-version=1&key=sk-Zq7"}, "without user, key or query"),
        ({"url": "http://host/v1/chat"}, "up to the version"),
    ],
)
def test_settings_that_cannot_be(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        EndpointConfig(**{"url": "http://host/v1", "model": "m", "revision": "r", **settings})
    assert all("Zq7" not in str(error["msg"]) for error in caught.value.errors())


def test_what_yaml_reads_as_a_date_is_a_version() -> None:
    fields: Any = {"url": "http://host", "model": "m", "revision": "r"}
    config = EndpointConfig(**fields, query={"api-version": datetime.date(2024, 10, 21)}, headers={"X": 1})
    assert config.query == {"api-version": "2024-10-21"} and config.headers == {"X": "1"}


def test_variables_meant_for_openai_do_not_reach_another_server(
    server: Any, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "OPENAI_API_KEY": "sk-Zq7",
        "OPENAI_ADMIN_KEY": "sk-Zq7",
        "OPENAI_ORG_ID": "org-Zq7",
        "OPENAI_PROJECT_ID": "proj-Zq7",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_CUSTOM_HEADERS": "X-Secret: Zq7",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ask(endpoint(), "2 + 2")[0].response == "2 + 2 by 1"
    assert server.keys == [None] and "Zq7" not in json.dumps(server.headers)
    assert {name: os.environ[name] for name in variables} == variables


def test_a_proxy_in_the_way_of_this_machine_is_named(
    server: Any, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, start_server: Any
) -> None:
    closed = "http://me:secret@127.0.0.1:9"
    monkeypatch.setenv("HTTP_PROXY", closed)
    with pytest.raises(
        EngineError, match=r"ConnectError.*add 127.0.0.1 to NO_PROXY, or unset HTTP_PROXY"
    ) as caught:
        ask(endpoint(), "2 + 2")
    assert "HTTP_PROXY (http://127.0.0.1:9) is used for 127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value) and server.requests == []
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert ask(endpoint(), "2 + 2")[0].response == "2 + 2 by 1"


@pytest.mark.parametrize("status", [403, 502, 503, 504])
def test_a_proxy_that_does_not_reach_this_machine_is_named(
    endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with proxy_server(status) as address:
        monkeypatch.setenv("all_proxy", address)
        with pytest.raises(
            EngineError, match=rf"HTTP {status}\. .*add 127.0.0.1 to NO_PROXY, or unset all_proxy"
        ):
            ask(endpoint(), "2 + 2")


def test_a_failure_names_the_proxy_that_it_came_through(
    endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_server(502) as address:
        monkeypatch.setenv("http_proxy", address)
        with pytest.raises(
            EngineError, match=rf"HTTP 502 \(through http_proxy, {address}\) \(attempt 3 of 3\)"
        ):
            ask(endpoint(url="http://gpu-box.example:8000/v1"), "2 + 2")


class proxy_server:
    """A proxy that answers each request with a page of this status."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("socks5://127.0.0.1:9", "'socksio' package is not installed.*pip install socksio"),
        ("socks://127.0.0.1:9", "unknown scheme.*http:// address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    server: Any, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(InputError, match=rf"^ALL_PROXY \({address}\) cannot be used as a proxy: .*{words}"):
        ask(endpoint(), "2 + 2")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(endpoint(), "2 + 2")[0].response == "2 + 2 by 1", "a proxy that does not apply does no harm"


def test_plain_http_where_tls_is_asked(server: Any, endpoint: Callable[..., Endpoint]) -> None:
    with pytest.raises(
        EngineError, match=r"the server does not speak TLS.*Write http:// in teacher.endpoint.url"
    ):
        ask(endpoint(url=server.url.replace("http:", "https:")), "2 + 2")


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody has signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    done = subprocess.run([*command, "-keyout", key, "-out", certificate], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener, context), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"


def accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        try:
            context.wrap_socket(connection, server_side=True).close()
        except (ssl.SSLError, OSError):
            connection.close()


def test_a_certificate_that_is_not_trusted(tls_url: str, endpoint: Callable[..., Endpoint]) -> None:
    with pytest.raises(EngineError, match=r"TLS certificate is not trusted \(.*self.signed.*SSL_CERT_FILE"):
        ask(endpoint(url=tls_url), "2 + 2")


def test_a_server_that_closes_idle_connections(server: Any, endpoint: Callable[..., Endpoint]) -> None:
    """It closes the connection after each response, and has not said so."""
    server.close_after_response = True
    completions = ask(endpoint(concurrency=1), *[f"{i}" for i in range(8)])
    assert all(completion.error is None for completion in completions)


def test_the_openai_client_is_imported_by_a_request_only() -> None:
    code = "import sys, hpt_core.rollout.endpoint.client; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
