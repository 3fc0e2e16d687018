"""A real HTTP server of chat completions on this machine, with faults by script."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Body = dict[str, Any]
Fault = Callable[[BaseHTTPRequestHandler], None]


class ChatServer:
    """Answers as `answer` says, unless the prompt has faults left, each of which takes one attempt."""

    def __init__(self) -> None:
        self.requests: list[Body] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[Body], tuple[str, str | None]] = answer
        self.faults: dict[str, list[Fault]] = {}
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients that are killed
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def asked(self) -> Counter[tuple[str, int]]:
        """How often each prompt and seed was asked."""
        return Counter((problem(body), body["seed"]) for body in self.requests)

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """No word for as long as the server runs."""
        self.closing.wait()
        handler.close_connection = True

    def stop(self) -> None:
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append(body)
                    outer.keys.append(self.headers["Authorization"])
                    faults = outer.faults.get(problem(body))
                    fault = faults.pop(0) if faults else None
                if self.path != "/v1/chat/completions":
                    fault = status(404, {"detail": "Not Found"})
                if fault:
                    return fault(self)
                content, reason = outer.answer(body)
                choice = {"index": 0, "finish_reason": reason, "message": {"content": content}}
                usage = {"completion_tokens": len(content.split()) + 1 if content else 1}
                send(self, 200, json.dumps({"choices": [choice], "usage": usage}).encode())
                self.close_connection |= outer.closing.is_set()

            def log_message(self, *_: object) -> None: ...

        return Handler


def problem(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def answer(body: Body) -> tuple[str, str]:
    """The same for the same problem and seed."""
    return f"{problem(body)} by {body['seed']}", "stop"


def send(handler: BaseHTTPRequestHandler, code: int, content: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def status(code: int, said: Any, **headers: str) -> Fault:
    """An HTTP error."""
    return lambda handler: send(handler, code, json.dumps(said).encode(), **headers)


def body(content: bytes) -> Fault:
    """HTTP 200 with this in it."""
    return lambda handler: send(handler, 200, content)


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    """Half of the body that was announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "400")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"finish_reason": "stop", "message": {"content": "4')
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    """No word, and the connection is gone."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True


class Faults:
    """What can go wrong, by name."""

    status = staticmethod(status)
    body = staticmethod(body)
    cut_short = staticmethod(cut_short)
    reset = staticmethod(reset)


@pytest.fixture
def faults() -> type[Faults]:
    return Faults


@pytest.fixture
def start_server() -> Iterator[Callable[[], ChatServer]]:
    servers: list[ChatServer] = []

    def start() -> ChatServer:
        servers.append(ChatServer())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[[], ChatServer]) -> ChatServer:
    return start_server()
